"""Is it a copy? CIFAR-10 at 16 x 16: the first 100 images, or 10,000.

Paper      Carlini et al. 2023 (what is asked), Peebles & Xie 2023 (network)
Parameters 2,233,920
Cost       4 k steps of 64 images; 8 to 9 min on 2 CPU cores, beside other work
Data       https://www.cs.toronto.edu/~kriz/cifar.html, the Python archive
Command    difjax train --config=configs/cifar10/memorisation_16.py
           --workdir=DIR [--config.data.source.stop=10000]
"""

from ml_collections import config_dict

from configs import parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment; `difjax evaluate` and `report` ask about copies."""
  network = dict(type='networks.DiT', patch=(8, 8), width=192, depth=3, heads=4)
  config = config_dict.ConfigDict()
  config.objective = dict(
    parts.edm(network, data_std=0.5, mean=0.0),
    target=dict(type='denoising.Data'),
    weighting=dict(type='objectives.UniformWeighting'),
  )  # fmt: skip
  first = _images('train', config_dict.FieldReference(100))
  config.data = dict(type='data.Pipeline', source=first, batch_size=64)
  config.steps = 4_000
  config.optimiser = parts.adam(parts.warmup_cosine(2e-3, 100, config.steps))
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.99))
  config.sampler = parts.heun(steps=18)
  config.sampler.grid.t_min = 0.1  # it has seen little of less noise
  train, new = config.data.source, _images('test', None)
  judge = dict(type='evaluation.Memorised', train=train, held_out=new)
  judge = dict(judge, sampler=config.sampler)
  config.evaluation = dict(copies=judge)
  section = dict(type='evaluation.MemorisedSection', judge=judge)
  config.report = parts.gallery('Copies?', new, config.sampler, copies=section)
  return config


def _images(split: str, stop: int | None) -> parts.Spec:
  source = dict(type='data.CifarArchive', path='data/cifar10', split=split)
  small = dict(resize=dict(type='data.Resize', size=16), order=('resize',))
  whole = dict(type='data.Mapped', source=source, transforms=small)
  return dict(type='data.Subset', source=whole, stop=stop)
