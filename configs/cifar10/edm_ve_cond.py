"""EDM on CIFAR-10, class-conditional, by NCSN++.

The published count is 56,400,643: 128 of ours are fixed frequencies.

Paper      Karras et al. 2022 (EDM), table 2: conditional, VE, config F
Published  FID 1.79 at 35 evaluations
Parameters 56,400,771
Cost       390,625 steps of 512 images; EDM: about 2 days on 8 V100; not run
           here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/edm_ve_cond.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import edm_parts as edm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  config = edm.cifar10(edm.conditional(edm.ncsnpp(), classes=10))
  config.published = edm.published(1.79, 35)
  return config
