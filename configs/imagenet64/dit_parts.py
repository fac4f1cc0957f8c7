"""Parts of the DiTs for ImageNet at 64 x 64 pixels: plain data, no jax."""

from typing import Any

from ml_collections import config_dict

from configs import parts

Spec = dict[str, Any]


def network(**fields: Any) -> Spec:
  """Returns DiT-B/4 with classes, which computes in bfloat16."""
  return parts.dit(
    'B', patch=4, num_classes=1_000, dtype=dict(ref='jax.numpy.bfloat16'),
    **fields,
  )  # fmt: skip


def experiment(
  objective: Spec, solver: Spec, grid: Spec
) -> config_dict.ConfigDict:
  """Returns a run, by the papers' optimiser.

  Args:
    objective: what is trained.
    solver: of its samples.
    grid: of their times.
  """
  config = config_dict.ConfigDict()
  config.objective = objective
  config.data = dict(
    type='data.Pipeline',
    source=dict(
      type='data.Tfds', name='imagenet_resized/64x64', split='train'
    ),
    transforms=dict(flip=dict(type='data.Flip'), order=('flip',)),
    batch_size=256,
  )
  config.steps = 400_000
  config.optimiser = parts.adam(parts.constant(1e-4), clip_norm=None)
  config.ema = dict(main=dict(type='training.ConstantEMA', rate=0.9999))
  config.mesh = dict(type='training.Mesh', data=-1, fsdp=1)
  config.rules = parts.dit_rules()
  config.sampler = dict(type='sampling.FixedGrid', solver=solver, grid=grid)
  config.hooks = parts.sample_grids(config.sampler, every=10_000)
  config.checkpoints = parts.checkpoints(every=5_000, keep_every=50_000)
  return config
