"""Your own images: a U-Net under EDM on a folder or a zip.

Paper      Karras et al. 2022 (objective), Song et al. 2021 (network)
Parameters 20,725,443
Cost       50 k steps of 64 images at 32 x 32; not run here
Data       PNG, JPEG or WebP files; sub-folders are classes
Command    difjax train --config=configs/folder.py --workdir=DIR
             --config.data.source.path=IMAGES
             --config.objective.network.num_classes=K (0: without labels)
"""

from ml_collections import config_dict

from configs import parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = dict(
    type='networks.UNet', channels=96, multipliers=(1, 2, 2),
    blocks_per_level=3, attention_resolutions=(8, 16), num_classes=0,
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = parts.edm(network, data_std=0.5)
  config.objective.label_dropout = 0.1
  config.data = dict(
    type='data.Pipeline',
    source=dict(type='data.ImageFolder', path='data/images', size=32),
    transforms=dict(flip=dict(type='data.Flip'), order=('flip',)),
    batch_size=64,
  )
  config.steps = 50_000
  config.optimiser = parts.adam(parts.warmup(5e-4, steps=1_000))
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.9995))
  config.sampler = parts.heun(steps=18)
  config.hooks = parts.sample_grids(config.sampler, every=2_500)
  return config
