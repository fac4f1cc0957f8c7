"""EDM on FFHQ at 64 x 64 by NCSN++.

The published count is 62,761,091: 128 of ours are fixed frequencies.

Paper      Karras et al. 2022 (EDM), table 2: FFHQ, VE, config F
Published  FID 2.53 at 79 evaluations
Parameters 62,761,219
Cost       781,250 steps of 256 images; EDM: about 4 days on 8 V100; not run
           here
Data       ffhq at 64 x 64 pixels, a zip or folder of images:
           data/ffhq-64x64.zip
Command    difjax train --config=configs/ffhq/edm_ve_64.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import edm_parts as edm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  return edm.faces(edm.ncsnpp(), 'data/ffhq-64x64.zip', dropout=0.05)
