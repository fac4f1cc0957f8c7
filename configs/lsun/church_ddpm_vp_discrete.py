"""DDPM on LSUN churches at 256 x 256.

Paper      Song et al. 2021 (score SDE), configs/vp/ddpm/church; Ho et al. 2020
Published  none
Parameters 111,569,923
Cost       2.4 M steps of 64 images; not run here
Data       church_outdoor_train_lmdb of https://github.com/fyu/lsun; pip install
           lmdb
Command    difjax train --config=configs/lsun/church_ddpm_vp_discrete.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system, data = sde.vp_discrete(sde.ddpm_256()), sde.lsun('church_outdoor')
  return sde.experiment(
    system, data, steps=2_400_000, optimiser=sde.adam(2e-5)
  )
