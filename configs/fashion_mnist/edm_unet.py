"""A class-conditional U-Net on Fashion-MNIST under EDM.

Paper      Karras et al. 2022 (objective), Song et al. 2021 (network); this
           combination has no published number
Parameters 6,990,401
Cost       50 k steps of 128 images; not run here
Data       the four idx files of https://github.com/zalandoresearch/fashion-mnist
Command    difjax train --config=configs/fashion_mnist/edm_unet.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts

DATA_STD = 0.71  # of the pixels in [-1, 1]


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = dict(
    type='networks.UNet', channels=64, multipliers=(1, 2, 2),
    blocks_per_level=2, attention_resolutions=(7,), num_classes=10,
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = parts.edm(network, data_std=DATA_STD)
  config.objective.label_dropout = 0.1
  config.data = dict(
    type='data.Pipeline',
    source=dict(
      type='data.Idx',
      images='data/fashion_mnist/train-images-idx3-ubyte.gz',
      labels='data/fashion_mnist/train-labels-idx1-ubyte.gz',
    ),
    transforms=dict(flip=dict(type='data.Flip'), order=('flip',)),
    batch_size=128,
  )
  config.steps = 50_000
  config.optimiser = parts.adam(parts.warmup(1e-3, steps=1_000))
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.9995))
  config.sampler = parts.heun(steps=18)
  config.hooks = parts.sample_grids(config.sampler, every=5_000)
  return config
