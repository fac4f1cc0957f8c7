"""NCSN++ on CIFAR-10 under the continuous VE SDE.

The official sigmas, 0.01 to 50, are doubled: data are in [-1, 1].

Paper      Song et al. 2021 (score SDE), table 3: NCSN++ cont. (VE)
Published  FID 2.38, IS 9.83 at 2,000 evaluations
Parameters 62,758,915
Cost       1.3 M steps of 128 images; score_sde: 0.2 s a step on 4 V100; not run
           here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsnpp_ve.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ve(sde.ncsnpp(encoding=sde.FOURIER), 50.0, snr=0.16)
  config = sde.experiment(system, sde.cifar10(), steps=1_300_000)
  config.published = sde.published(2.38, 9.83, evaluations=2_000)
  return config
