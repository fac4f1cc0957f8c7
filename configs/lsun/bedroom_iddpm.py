"""Improved DDPM on LSUN bedrooms at 256 x 256, at a rate of 1e-4.

Paper      Nichol & Dhariwal 2021 (improved DDPM), LSUN bedroom, lr=1e-4
Published  figures not confirmed here
Parameters 113,676,678
Cost       1.2 M steps of 128 images; not run here
Data       bedroom_train_lmdb of https://github.com/fyu/lsun; pip install lmdb
Command    difjax train --config=configs/lsun/bedroom_iddpm.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm
from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  objective = adm.hybrid(adm.iddpm_lsun(), adm.linear())
  data = sde.lsun('bedroom', batch_size=128, flip=False)
  return adm.experiment(
    objective, data, steps=1_200_000, rate=1e-4, evaluations=adm.LEVELS
  )
