"""Parts of EDM2's experiments: plain data, no jax.

Karras et al. 2024, Analyzing and Improving the Training Dynamics of Diffusion
Models (2312.02696), table 6 and the presets of its code. A size is a width, a
learning rate and a dropout; all else is shared.
"""

from typing import Any

from ml_collections import config_dict

from configs import parts

Spec = dict[str, Any]

BATCH = 2_048
RAMP = 10_000_000 / BATCH  # steps of the learning rate's ramp
STD = 0.5  # of the data


def network(channels: int, dropout: float) -> Spec:
  """Returns the network for ImageNet at 64 x 64 pixels."""
  return dict(
    type='networks.MPUNet', channels=channels, dropout=dropout,
    num_classes=1_000, dtype=dict(ref='jax.numpy.bfloat16'),
  )  # fmt: skip


def objective(network: Spec, mean: float = -0.8, std: float = 1.6) -> Spec:
  """Returns EDM's objective under a learned variance.

  Args:
    network: its network.
    mean: of log(sigma) in training; by default that for pixels.
    std: of the same.
  """
  return parts.edm(network, data_std=STD, mean=mean) | dict(
    type='objectives.UncertaintyDenoising',
    times=dict(
      type='objectives.LogNormalTimes', mean=mean, std=std, stratified=False
    ),
    log_variance=dict(type='networks.LogVariance', width=128),
  )


def optimiser(rate: float, numbers: int, decay: float = 35_000.0) -> Spec:
  """Returns Adam under an inverse root, its weights kept at unit length.

  The official loss sums over the `numbers` of an image, ours averages: Adam's
  epsilon is theirs over as many.
  """
  schedule = dict(
    type='training.inverse_root_schedule', peak_value=rate, ramp_steps=RAMP,
    decay_steps=decay,
  )  # fmt: skip
  adam = parts.adam(schedule, clip_norm=None, b2=0.99, eps=1e-8 / numbers)
  return adam | dict(constraint=dict(type='training.unit_weights'))


def imagenet64(
  channels: int, rate: float, dropout: float, mega_images: int
) -> config_dict.ConfigDict:
  """Returns an experiment on ImageNet at 64 x 64 pixels.

  Args:
    channels: of the first level.
    rate: the learning rate's peak.
    dropout: in the blocks.
    mega_images: 2^20 images of training.
  """
  source = dict(type='data.Tfds', name='imagenet_resized/64x64', split='train')
  return _experiment(
    objective(network(channels, dropout)), source,
    optimiser(rate, numbers=64 * 64 * 3), mega_images,
  )  # fmt: skip


def imagenet512(
  channels: int, rate: float, dropout: float, mega_images: int
) -> config_dict.ConfigDict:
  """Returns an experiment on latents [64, 64, 4] of ImageNet at 512 x 512.

  The data are random bytes of their shape: no source gives latents yet.

  Args:
    channels: of the first level.
    rate: the learning rate's peak.
    dropout: in the blocks.
    mega_images: 2^20 images of training.
  """
  source = dict(
    type='data.Synthetic', height=64, width=64, channels=4, classes=1_000,
    length=1_281_167,
  )  # fmt: skip
  return _experiment(
    objective(network(channels, dropout), mean=-0.4, std=1.0), source,
    optimiser(rate, numbers=64 * 64 * 4, decay=70_000.0), mega_images,
  )  # fmt: skip


def _experiment(
  objective: Spec, source: Spec, optimiser: Spec, mega_images: int
) -> config_dict.ConfigDict:
  every = 8 * 2**20 // BATCH
  config = config_dict.ConfigDict()
  config.objective = objective
  config.data = dict(type='data.Pipeline', batch_size=BATCH, source=source)
  config.steps = mega_images * 2**20 // BATCH
  config.optimiser = optimiser
  config.ema = dict(
    main=dict(type='training.PowerFunctionEMA', width=0.05),
    wide=dict(type='training.PowerFunctionEMA', width=0.10),
  )
  config.sampler = parts.heun(steps=32)
  config.hooks = dict(
    snapshots=dict(
      type='training.Snapshots', every=every, averages=('main', 'wide')
    ),
    **parts.sample_grids(config.sampler, every=every),
  )
  config.hooks.order = ('grid', 'snapshots')
  config.checkpoints = parts.checkpoints(every=every, keep_every=16 * every)
  return config
