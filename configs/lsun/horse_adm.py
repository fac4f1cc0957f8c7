"""ADM on LSUN horses at 256 x 256, with dropout.

Without dropout: --config.objective.network.dropout=0.0.

Paper      Dhariwal & Nichol 2021 (ADM), LSUN horse
Published  FID 2.57 at 1,000 evaluations
Parameters 552,814,086
Cost       250 k steps of 256 images; not run here
Data       horse.zip of https://github.com/fyu/lsun, unpacked to
           data/lsun/horse_train_lmdb; pip install lmdb
Command    difjax train --config=configs/lsun/horse_adm.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm
from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.adm(256, num_classes=0, dropout=0.1)
  data = sde.lsun('horse', batch_size=256)
  return adm.experiment(
    adm.hybrid(network, adm.linear()), data, steps=250_000,
    evaluations=adm.LEVELS,
  )
