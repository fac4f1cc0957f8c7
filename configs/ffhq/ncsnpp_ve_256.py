"""NCSN++ on FFHQ at 256 x 256 under the VE SDE.

The official sigmas, 0.01 to 348, are doubled: data are in [-1, 1].

Paper      Song et al. 2021 (score SDE), configs/ve/ffhq_256_ncsnpp_continuous
Published  samples only, at 4,000 evaluations
Parameters 65,574,549
Cost       2.4 M steps of 64 images; not run here
Data       ffhq-r08.tfrecords of https://github.com/NVlabs/ffhq-dataset; difjax
           data index data/ffhq
Command    difjax train --config=configs/ffhq/ncsnpp_ve_256.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ve(
    sde.ncsnpp_skips(), 348.0, snr=0.075, steps=2_000
  )
  data = sde.stylegan('data/ffhq/ffhq-r08.tfrecords', batch_size=64)
  return sde.experiment(system, data, steps=2_400_000)
