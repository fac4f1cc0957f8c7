"""EDM on CIFAR-10, unconditional, by DDPM++.

Paper      Karras et al. 2022 (EDM), table 2: unconditional, VP, config F
Published  FID 1.97 at 35 evaluations
Parameters 55,733,891
Cost       390,625 steps of 512 images; EDM: about 2 days on 8 V100; not run
           here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/edm_vp.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import edm_parts as edm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  config = edm.cifar10(edm.ddpmpp())
  config.published = edm.published(
    1.97, 35, spread=(1.97, 2.08),
    source='Karras et al. 2022, table 2: least of three sets of 50,000; runs '
    'of others reach 2.04 to 2.08 (NVlabs/edm, issue 16)',
  )
  return config
