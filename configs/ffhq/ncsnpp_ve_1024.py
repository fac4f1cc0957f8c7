"""NCSN++ on FFHQ at 1024 x 1024 under the VE SDE.

The official sigmas, 0.01 to 1348, are doubled: data are in [-1, 1]. The
official file cannot start in its own repository: it asks for PyTorch and lacks
keys. Its loss is a mean over pixels, not half of a sum.

Paper      Song et al. 2021 (score SDE), appendix H: FFHQ, 1024 x 1024
Published  samples only, at 4,000 evaluations
Parameters 105,785,896
Cost       2.4 M steps of 8 images; not run here
Data       ffhq-r10.tfrecords of https://github.com/NVlabs/ffhq-dataset; difjax
           data index data/ffhq
Command    difjax train --config=configs/ffhq/ncsnpp_ve_1024.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ve(
    sde.ncsnpp_1024(), 1348.0, snr=0.15, steps=2_000
  )
  system['ema'] = 0.9999
  system['objective']['reduction'] = dict(ref='objectives.mean')
  data = sde.stylegan('data/ffhq/ffhq-r10.tfrecords', batch_size=8)
  return sde.experiment(system, data, steps=2_400_000, grid_rows=2)
