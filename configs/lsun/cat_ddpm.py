"""DDPM on LSUN cats at 256 x 256, by its own network.

Paper      Ho et al. 2020 (DDPM), LSUN cat
Published  FID 19.75 at 1,000 evaluations
Parameters 113,673,219
Cost       1.8 M steps of 64 images; not run here
Data       cat.zip of https://github.com/fyu/lsun, unpacked to
           data/lsun/cat_train_lmdb; pip install lmdb
Command    difjax train --config=configs/lsun/cat_ddpm.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.vp_discrete(sde.original_ddpm_256(), sde.SMALL)
  return sde.experiment(
    system, sde.lsun('cat', flip=False), steps=1_800_000,
    optimiser=sde.adam(2e-5),
  )
