"""DDPM++ (deep) on CIFAR-10 under the continuous VP SDE.

Paper      Song et al. 2021 (score SDE), tables 2 and 3: DDPM++ cont. (deep, VP)
Published  FID 2.41, IS 9.68 at 1,000 evaluations; ODE: FID 3.08, 3.13 bits/dim
Parameters 106,632,579
Cost       950 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ddpmpp_vp_deep.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.vp(sde.ddpmpp(blocks_per_level=8))
  return sde.experiment(system, sde.cifar10(), steps=950_000)
