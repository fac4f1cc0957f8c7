"""ADM on LSUN bedrooms at 256 x 256, with dropout.

Paper      Dhariwal & Nichol 2021 (ADM), LSUN bedroom
Published  FID 1.90 at 1,000 evaluations
Parameters 552,814,086
Cost       500 k steps of 256 images; not run here
Data       bedroom_train_lmdb of https://github.com/fyu/lsun; pip install lmdb
Command    difjax train --config=configs/lsun/bedroom_adm.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm
from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.adm(256, num_classes=0, dropout=0.1)
  data = sde.lsun('bedroom', batch_size=256)
  return adm.experiment(
    adm.hybrid(network, adm.linear()), data, steps=500_000,
    evaluations=adm.LEVELS,
  )
