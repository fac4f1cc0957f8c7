"""SiT-B/4 on ImageNet at 64 x 64 pixels: the linear path, by velocity.

Paper      Ma et al. 2024 (SiT), whose figures are of latents; this pixel-space
           model has no published number
Parameters 130,352,688
Cost       400 k steps of 256 images; not run here
Data       tensorflow-datasets' imagenet_resized/64x64, prepared
Command    difjax train --config=configs/imagenet64/sit_b4.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = parts.dit(
    'B', patch=4, num_classes=1_000, dtype=dict(ref='jax.numpy.bfloat16')
  )
  config = config_dict.ConfigDict()
  config.objective = parts.sit(network)
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
  config.sampler = dict(
    type='sampling.FixedGrid',
    solver=dict(type='sampling.Heun'),
    grid=dict(type='sampling.Uniform', steps=125),
  )
  config.hooks = parts.sample_grids(config.sampler, every=10_000)
  config.checkpoints = parts.checkpoints(every=5_000, keep_every=50_000)
  return config
