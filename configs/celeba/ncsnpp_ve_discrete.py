"""NCSN++ on CelebA at 64 x 64 on 1,000 levels of the VE SDE.

The official sigmas, 0.01 to 90, are doubled: data are in [-1, 1].

Paper      Song et al. 2021 (score SDE), configs/ve/celeba_ncsnpp
Published  FID about 2.5 (its authors, issue 10 of score_sde)
Parameters 62,693,251
Cost       1.3 M steps of 128 images; not run here
Data       tensorflow-datasets' celeb_a, prepared; cropped to 140 x 140, scaled
           to 64 x 64
Command    difjax train --config=configs/celeba/ncsnpp_ve_discrete.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ve_discrete(sde.ncsnpp(), 90.0, snr=0.17)
  return sde.experiment(system, sde.celeba(), steps=1_300_000)
