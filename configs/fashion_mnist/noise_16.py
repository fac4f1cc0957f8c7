"""A small conditional U-Net that predicts the noise of the VP SDE, on a CPU.

Paper      Song et al. 2021 (score SDE), section 3.4; Ho et al. 2020 (DDPM)
Published  none at this size
Parameters 317,825
Cost       3 k steps of 64 images; 23 min on 2 CPU cores, shared with other
           work
Data       the test files of https://github.com/zalandoresearch/fashion-mnist
Command    difjax train --config=configs/fashion_mnist/noise_16.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts
from configs.fashion_mnist import small_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  process = dict(type='processes.VP')
  objective = parts.score_sde(small_parts.conditional(), process)
  grid = dict(partial='sampling.Uniform', t_min=1e-3)
  return small_parts.few_steps(objective, grid)
