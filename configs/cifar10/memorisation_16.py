"""Does a model repeat its images? CIFAR-10 at 16 x 16, few images or many.

Paper      Karras et al. 2022 (objective), Peebles & Xie 2023 (network);
           Carlini et al. 2023 (what is asked)
Published  none at this size
Parameters 1
Cost       x
Data       https://www.cs.toronto.edu/~kriz/cifar.html, the Python archive
Command    difjax train --config=configs/cifar10/memorisation_16.py
           --workdir=DIR [--config.data.source.stop=10000]
"""

from ml_collections import config_dict

from configs import parts

DATA_STD = 0.5  # of the pixels in [-1, 1]


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment; its first 100 images are learnt by heart."""
  network = dict(
    type='networks.DiT', patch=(4, 4), width=128, depth=4, heads=4,
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = parts.edm(network, DATA_STD)
  config.data = dict(
    type='data.Pipeline', batch_size=64, threads=1,
    source=_images('train', config_dict.FieldReference(100)),
  )  # fmt: skip
  config.steps = 3_000
  config.optimiser = parts.adam(parts.warmup_cosine(2e-3, 100, config.steps))
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.99))
  config.sampler = parts.heun(steps=18)
  return config


def _images(split: str, stop: int | None) -> parts.Spec:
  source = dict(type='data.CifarArchive', path='data/cifar10', split=split)
  small = dict(resize=dict(type='data.Resize', size=16), order=('resize',))
  whole = dict(type='data.Mapped', source=source, transforms=small)
  return dict(type='data.Subset', source=whole, stop=stop)
