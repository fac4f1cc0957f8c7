"""DDPM on CIFAR-10, by its own network.

That of ddpm_vp_discrete.py has attention once a level on the way up.

Paper      Ho et al. 2020 (DDPM), table 1: CIFAR-10, L_simple
Published  FID 3.17, IS 9.46 at 1,000 evaluations
Parameters 35,746,307
Cost       800 k steps of 128 images; its authors: 10.6 hours on a TPU v3-8; not
           run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ddpm.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.vp_discrete(sde.original_ddpm())
  return sde.experiment(system, sde.cifar10(), steps=800_000)
