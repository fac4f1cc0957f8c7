"""Digits in minutes on a laptop: a class-conditional DiT under EDM.

Paper      Peebles & Xie 2023 (network), Karras et al. 2022 (objective)
Parameters 723,844
Cost       minutes on 2 CPU cores; README.md has the measured figures
Data       scikit-learn's 8x8 digits, in its wheel
Command    bash launch/quickstart.sh
"""

from ml_collections import config_dict

from configs import parts

DATA_STD = 0.75  # of the pixels in [-1, 1]


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = dict(
    type='networks.DiT', patch=(2, 2), width=96, depth=4, heads=4,
    num_classes=10, remat=True,
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.steps = config_dict.FieldReference(2_500)
  config.objective = parts.edm(network, data_std=DATA_STD, mean=-0.6)
  config.objective.label_dropout = 0.1
  config.data = dict(
    type='data.Pipeline',
    source=dict(type='data.Digits', split='train'),
    batch_size=64,
    threads=1,
  )
  config.optimiser = parts.adam(
    parts.warmup_cosine(2e-3, 100, steps=config.get_ref('steps'))
  )
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.999))
  config.log_every = 10
  config.sampler = parts.heun(steps=18)
  config.hooks = parts.sample_grids(config.sampler, every=1_000)
  config.report = parts.study(
    "Digits, drawn by difjax's quickstart",
    train=config.data.source,
    held_out=dict(type='data.Digits', split='test'),
  )
  return config
