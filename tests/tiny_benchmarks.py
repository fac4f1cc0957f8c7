"""Two benchmarks that take no time: one to measure, one for other machines."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Returns them, in an order that is not that of their names."""
  digits = dict(type='data.Pipeline', source=dict(type='data.Digits'),
                batch_size=8, threads=1)
  config = config_dict.ConfigDict()
  config.rounds = 2
  config.minutes = 2
  config.parts = dict(
    input=dict(
      type='evaluation.InputSpeed', title='digits', data=digits, batches=2
    ),
    far=dict(
      type='evaluation.AttentionSpeed', title='a DiT', shape=(1, 2, 1, 8),
      implementation='cudnn', backends=('tpu',),
    ),
    order=('input', 'far'),
  )
  return config
