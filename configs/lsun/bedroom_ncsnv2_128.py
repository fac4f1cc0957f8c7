"""NCSNv2 on LSUN bedrooms at 128 x 128.

The official sigmas, 0.01 to 190, are doubled: data are in [-1, 1]. The official
file misspells training.continuous, and so gives a sigma to a network that takes
an index. It halves the images by a triangle filter, here it is by a box.

Paper      Song & Ermon 2020 (NCSNv2), LSUN bedroom
Published  samples only, at 3,259 evaluations
Parameters 83,445,379
Cost       150 k steps of 128 images; not run here
Data       bedroom_train_lmdb of https://github.com/fyu/lsun; pip install lmdb
Command    difjax train --config=configs/lsun/bedroom_ncsnv2_128.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ncsnv2(
    sde.refinenet_128(), 190.0, levels=1_086, snr=0.095, steps=3
  )
  system['ema'] = 0.9999
  data = sde.lsun('bedroom', size=128, batch_size=128)
  return sde.experiment(
    system, data, steps=150_000, optimiser=sde.plain_adam(1e-4)
  )
