"""A small classifier of noisy Fashion-MNIST images, for guidance to a class.

Paper      Song et al. 2021 (score SDE), appendix I: a WideResNet, a small one
Published  none at this size
Parameters 107,578
Cost       2 k steps of 64 images
Data       as vp_16.py
Command    difjax train --config=configs/fashion_mnist/classifier_16.py
           --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts
from configs import score_sde_parts as sde
from configs.fashion_mnist import small_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment; `difjax sample --guidance.workdir=DIR` uses it."""
  network = dict(
    type='networks.WideResNet', widening=2, blocks_per_group=1,
    multipliers=(1, 2), frequencies=32,
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = dict(
    type='objectives.Classifier', network=network,
    process=sde.ve_process(12.0),
    inputs=dict(type='denoising.InputMap', noise=sde.SIGMA),
  )  # fmt: skip
  config.data = dict(
    type='data.Pipeline', source=small_parts.images(0, 8_000), batch_size=64
  )
  config.dequantise = True
  config.steps = 2_000
  config.optimiser = parts.adam(parts.warmup_cosine(1e-3, 100, config.steps))
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.999))
  return config
