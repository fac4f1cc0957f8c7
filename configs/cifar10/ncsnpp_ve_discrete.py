"""NCSN++ on CIFAR-10 on 1,000 levels of the VE SDE.

The official sigmas, 0.01 to 50, are doubled: data are in [-1, 1].

Paper      Song et al. 2021 (score SDE), table 3: NCSN++
Published  FID 2.45, IS 9.73 at 2,000 evaluations
Parameters 62,693,251
Cost       1.3 M steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsnpp_ve_discrete.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ve_discrete(sde.ncsnpp(), 50.0, snr=0.16)
  return sde.experiment(system, sde.cifar10(), steps=1_300_000)
