"""DDPM++ on CIFAR-10 on DDPM's 1,000 levels.

Paper      Song et al. 2021 (score SDE), table 3: DDPM++
Published  FID 2.78, IS 9.64 at 1,000 evaluations
Parameters 61,804,419
Cost       1.3 M steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ddpmpp_vp_discrete.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.vp_discrete(sde.ddpmpp())
  return sde.experiment(system, sde.cifar10(), steps=1_300_000)
