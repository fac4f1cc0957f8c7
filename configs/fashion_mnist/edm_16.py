"""A small conditional U-Net under EDM, on a CPU.

Paper      Karras et al. 2022 (EDM), table 1
Published  none at this size
Parameters 317,825
Cost       3 k steps of 64 images; 35 min on 2 CPU cores, shared with other
           work
Data       the test files of https://github.com/zalandoresearch/fashion-mnist
Command    difjax train --config=configs/fashion_mnist/edm_16.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts
from configs.fashion_mnist import small_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = small_parts.conditional()
  objective = parts.edm(network, small_parts.DATA_STD, mean=-0.6)
  return small_parts.few_steps(objective, dict(partial='sampling.Karras'))
