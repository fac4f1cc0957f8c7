"""DDPM on CIFAR-10, its network blind to the noise level.

Paper      Song et al. 2021 (score SDE), configs/vp/ddpm/cifar10_unconditional
Published  none
Parameters 32,329,347
Cost       1.3 M steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ddpm_vp_unconditional.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.vp_discrete(sde.ddpm(conditional=False))
  return sde.experiment(system, sde.cifar10(), steps=1_300_000)
