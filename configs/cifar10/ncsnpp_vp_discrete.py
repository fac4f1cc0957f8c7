"""NCSN++ on CIFAR-10 on DDPM's 1,000 levels, by reverse diffusion.

Paper      Song et al. 2021 (score SDE), configs/vp/cifar10_ncsnpp
Published  none
Parameters 62,693,251
Cost       1.3 M steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsnpp_vp_discrete.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.vp_discrete(sde.ncsnpp(), dict(type='sampling.ReverseDiffusion'))
  return sde.experiment(system, sde.cifar10(), steps=1_300_000)
