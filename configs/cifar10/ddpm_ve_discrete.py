"""DDPM's network on CIFAR-10 on 1,000 levels of the VE SDE.

The official sigmas, 0.01 to 50, are doubled: data are in [-1, 1].

Paper      Song et al. 2021 (score SDE), configs/ve/cifar10_ddpm
Published  none
Parameters 35,218,947
Cost       1.3 M steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ddpm_ve_discrete.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ve_discrete(sde.ddpm(), 50.0, snr=0.16)
  return sde.experiment(system, sde.cifar10(), steps=1_300_000)
