"""NCSN++ on LSUN churches at 256 x 256 under the VE SDE.

The official sigmas, 0.01 to 380, are doubled: data are in [-1, 1].

Paper      Song et al. 2021 (score SDE), appendix H: LSUN, 256 x 256
Published  samples only, at 4,000 evaluations
Parameters 65,574,549
Cost       2.4 M steps of 64 images; not run here
Data       church_outdoor_train_lmdb of https://github.com/fyu/lsun; pip install
           lmdb
Command    difjax train --config=configs/lsun/church_ncsnpp_ve.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ve(
    sde.ncsnpp_skips(), 380.0, snr=0.075, steps=2_000
  )
  return sde.experiment(system, sde.lsun('church_outdoor'), steps=2_400_000)
