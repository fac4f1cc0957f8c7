"""A small DDPM++ under the VE SDE, for three SDEs compared on a CPU.

Paper      Song et al. 2021 (score SDE), section 3.4
Published  none at this size
Parameters 318,161
Cost       5 k steps of 64 images; 55 min on 2 CPU cores, shared with other
           work
Data       as vp_16.py; sigma_max 12 (24 here, where data are in [-1, 1]) is
           the largest distance between two images
Command    difjax train --config=configs/fashion_mnist/ve_16.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts
from configs.fashion_mnist import small_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment; the loss is a mean, as under the other SDEs."""
  network = dict(small_parts.NETWORK, encoding=score_sde_parts.FOURIER)
  system = score_sde_parts.ve(network, sigma_max=12.0, snr=0.16)
  objective = dict(
    system['objective'], reduction=dict(ref='objectives.mean')
  )
  return small_parts.experiment(objective, steps=5_000, t_min=1e-5)
