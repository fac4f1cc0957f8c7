"""EDM on AFHQv2 at 64 x 64 by DDPM++.

Paper      Karras et al. 2022 (EDM), table 2: AFHQv2, VP, config F
Published  FID 1.96 at 79 evaluations
Parameters 61,805,571
Cost       781,250 steps of 256 images; EDM: about 4 days on 8 V100; not run
           here
Data       afhqv2 at 64 x 64 pixels, a zip or folder of images:
           data/afhqv2-64x64.zip
Command    difjax train --config=configs/afhqv2/edm_vp_64.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import edm_parts as edm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  return edm.faces(edm.ddpmpp(), 'data/afhqv2-64x64.zip', dropout=0.25)
