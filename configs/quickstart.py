"""Digits in minutes on a laptop: a class-conditional DiT under EDM.

Data     scikit-learn's 8x8 digits, 1,297 for training (in the wheel)
Network  DiT, 2x2 patches, width 96, depth 4
Cost     see README.md: measured on 2 CPU cores
Command  bash launch/quickstart.sh, or
         difjax train --config=configs/quickstart.py --workdir=runs/quickstart
"""

from ml_collections import config_dict

from configs import parts

DATA_STD = 0.75  # of the digits' pixels in [-1, 1]


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  steps = config_dict.FieldReference(4_000)
  network = dict(
    type='networks.DiT', patch=(2, 2), width=96, depth=4, heads=4,
    num_classes=10,
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = parts.edm(network, data_std=DATA_STD)
  config.objective.label_dropout = 0.1
  config.data = dict(
    type='data.Pipeline',
    source=dict(type='data.Digits', split='train'),
    batch_size=128,
    threads=1,
  )
  config.steps = steps
  config.optimiser = parts.adam(
    dict(
      type='optax.warmup_cosine_decay_schedule', init_value=0.0,
      peak_value=2e-3, warmup_steps=100, decay_steps=steps,
    )
  )  # fmt: skip
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.999))
  config.sampler = parts.heun(steps=18)
  config.report = dict(
    type='evaluation.Study',
    title="Digits, drawn by difjax's quickstart",
    train=config.data.source,
    held_out=dict(type='data.Digits', split='test'),
    sampler=config.sampler,
    few=parts.ddim(steps=10),
    curves={
      'DDIM': [parts.ddim(n) for n in (5, 10, 20, 40)],
      'Heun': [parts.heun(n) for n in (3, 5, 10, 18)],
      'adaptive ODE': [parts.adaptive(tol) for tol in (1e-1, 1e-2, 1e-3)],
    },
  )
  config.hooks = dict(
    grid=dict(
      type='evaluation.SampleGrid', every=1_000, sampler=config.sampler
    ),
    order=('grid',),
  )
  config.log_every = 50
  config.seed = 0
  return config
