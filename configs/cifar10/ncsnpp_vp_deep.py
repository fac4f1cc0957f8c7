"""NCSN++ (deep) on CIFAR-10 under the continuous VP SDE.

Paper      Song et al. 2021 (score SDE),
           configs/vp/cifar10_ncsnpp_deep_continuous
Published  none
Parameters 107,521,411
Cost       950 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsnpp_vp_deep.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.vp(sde.ncsnpp(blocks_per_level=8))
  return sde.experiment(system, sde.cifar10(), steps=950_000)
