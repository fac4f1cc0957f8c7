"""Improved DDPM on LSUN bedrooms at 256 x 256, at a rate of 2e-5.

Paper      Nichol & Dhariwal 2021 (improved DDPM), LSUN bedroom, lr=2e-5
Published  figures not confirmed here
Parameters 113,676,678
Cost       2.4 M steps of 64 images; not run here
Data       bedroom_train_lmdb of https://github.com/fyu/lsun; pip install lmdb
Command    difjax train --config=configs/lsun/bedroom_iddpm_slow.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm
from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  objective = adm.hybrid(adm.iddpm_lsun(), adm.linear())
  data = sde.lsun('bedroom', batch_size=64, flip=False)
  return adm.experiment(
    objective, data, steps=2_400_000, rate=2e-5, evaluations=adm.LEVELS
  )
