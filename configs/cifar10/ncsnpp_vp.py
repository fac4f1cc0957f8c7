"""NCSN++ on CIFAR-10 under the continuous VP SDE.

Paper      Song et al. 2021 (score SDE), configs/vp/cifar10_ncsnpp_continuous
Published  none
Parameters 62,693,251
Cost       1.3 M steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsnpp_vp.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  return sde.experiment(sde.vp(sde.ncsnpp()), sde.cifar10(), steps=1_300_000)
