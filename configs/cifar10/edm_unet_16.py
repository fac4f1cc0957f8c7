"""A small U-Net under EDM on CIFAR-10 at 16 x 16: colours on a CPU.

Paper      Karras et al. 2022 (objective), Song et al. 2021 (network); this
           combination has no published number
Parameters 1,260,547
Cost       2 k steps of 64 images; 47 min on 2 CPU cores, shared with other
           work
Data       https://www.cs.toronto.edu/~kriz/cifar.html, the Python archive
Command    difjax train --config=configs/cifar10/edm_unet_16.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts

DATA_STD = 0.5  # of the pixels in [-1, 1]


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment, whose report restores held-out images."""
  network = dict(
    type='networks.UNet', channels=32, multipliers=(1, 2, 2),
    blocks_per_level=1, attention_resolutions=(8,), dropout=0.0,
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = parts.edm(network, data_std=DATA_STD)
  config.data = dict(
    type='data.Pipeline', source=_images('train'), batch_size=64
  )
  config.data.transforms = dict(flip=dict(type='data.Flip'), order=('flip',))
  config.steps = 2_000
  config.optimiser = parts.adam(parts.warmup_cosine(1e-3, 250, config.steps))
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.999))
  config.sampler = parts.heun(steps=18)
  config.report = parts.gallery(
    'CIFAR-10 at 16 x 16, restored', _images('test'), config.sampler,
    restored=parts.restorations(config.sampler),
  )  # fmt: skip
  return config


def _images(split: str) -> parts.Spec:
  source = dict(type='data.CifarArchive', path='data/cifar10', split=split)
  small = dict(resize=dict(type='data.Resize', size=16), order=('resize',))
  return dict(type='data.Mapped', source=source, transforms=small)
