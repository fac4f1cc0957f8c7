"""The tiny experiment as a job of several processes runs it.

21 examples in batches of 8: an epoch ends within a batch, and twelve steps are
four epochs and a half.
"""

from ml_collections import config_dict

from configs import parts
from tests import tiny_config


def get_config() -> config_dict.ConfigDict:
  """Returns `tiny_config`, all of it split, with the hooks that there are."""
  config = tiny_config.get_config()
  config.data.source = dict(
    type='data.Subset', source=dict(type='data.Digits'), stop=21
  )
  config.data.batch_size = 8
  config.mesh = dict(type='training.Mesh', data=-1, fsdp=1, tensor=1)
  config.rules = parts.dit_rules(min_size=1)
  grid = parts.sample_grids(parts.ddim(2), every=6)['grid']
  config.hooks = dict(
    index=dict(type='training.IndexLog'),
    grid=dict(grid, rows=2),
    order=('index', 'grid'),
  )
  config.checkpoints.every = 3
  return config
