"""DDPM on LSUN churches at 256 x 256, by its own network.

Paper      Ho et al. 2020 (DDPM), LSUN church
Published  FID 7.89 at 1,000 evaluations
Parameters 113,673,219
Cost       1.2 M steps of 64 images; not run here
Data       church_outdoor_train_lmdb of https://github.com/fyu/lsun; pip install
           lmdb
Command    difjax train --config=configs/lsun/church_ddpm.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.vp_discrete(sde.original_ddpm_256(), sde.SMALL)
  return sde.experiment(
    system, sde.lsun('church_outdoor'), steps=1_200_000,
    optimiser=sde.adam(2e-5),
  )
