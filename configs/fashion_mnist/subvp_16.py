"""A small DDPM++ under the sub-VP SDE, for three SDEs compared on a CPU.

Paper      Song et al. 2021 (score SDE), section 3.4
Published  none at this size
Parameters 317,121
Cost       5 k steps of 64 images; 40 min on 2 CPU cores, shared with other
           work
Data       the test files of https://github.com/zalandoresearch/fashion-mnist
Command    difjax train --config=configs/fashion_mnist/subvp_16.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts
from configs.fashion_mnist import small_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  process = dict(type='processes.SubVP')
  objective = parts.score_sde(small_parts.NETWORK, process)
  return small_parts.experiment(objective, steps=5_000)
