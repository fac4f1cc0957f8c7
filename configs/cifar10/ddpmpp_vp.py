"""DDPM++ on CIFAR-10 under the continuous VP SDE.

Paper      Song et al. 2021 (score SDE), tables 2 and 3: DDPM++ cont. (VP)
Published  FID 2.55, IS 9.58 at 1,000 evaluations; ODE: FID 3.93, 3.16 bits/dim
Parameters 61,804,419
Cost       1.3 M steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ddpmpp_vp.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  config = sde.experiment(sde.vp(sde.ddpmpp()), sde.cifar10(), steps=1_300_000)
  config.published = sde.published(2.55, 9.58, evaluations=1_000)
  return config
