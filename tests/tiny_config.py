"""An experiment that compiles in seconds, composed as the shipped ones are."""

from ml_collections import config_dict

from configs import parts


def get_config() -> config_dict.ConfigDict:
  """Returns a DiT on the digits, with everything random that there is."""
  network = dict(
    type='networks.DiT', patch=(4, 4), width=16, depth=1, heads=2,
    num_classes=10, dropout=0.1,
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = parts.score_sde(network, dict(type='processes.VP'))
  config.objective.label_dropout = 0.2
  config.data = dict(
    type='data.Pipeline',
    source=dict(type='data.Digits', split='train'),
    transforms=dict(flip=dict(type='data.Flip'), order=('flip',)),
    batch_size=16,
    threads=1,
  )
  config.steps = 12
  config.optimiser = parts.adam(parts.warmup(1e-2, steps=8))
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.999))
  config.checkpoints = dict(type='training.Checkpoints', every=6)
  config.sampler = parts.ddim(4, eta=1.0)
  config.log_every = 1
  config.tensorboard = False
  config.seed = 3
  return config
