"""A small conditional U-Net that predicts the velocity of a flow, on a CPU.

Paper      Lipman et al. 2023 (flow matching); Esser et al. 2024, section 3.1
Published  none at this size
Parameters 317,825
Cost       3 k steps of 64 images; 24 min on 2 CPU cores, shared with other
           work
Data       the test files of https://github.com/zalandoresearch/fashion-mnist
Command    difjax train --config=configs/fashion_mnist/flow_16.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts
from configs.fashion_mnist import small_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  objective = parts.flow(small_parts.conditional())
  return small_parts.few_steps(objective, dict(partial='sampling.Uniform'))
