"""DiT-XL/2 on the latents of ImageNet at 256 x 256, class-conditional.

Latents are 32 x 32 x 4, those of Stable Diffusion's autoencoder. No source
gives them yet: the data here are random bytes of their shape, which is what a
plan and a measurement of speed need.

Paper      Peebles & Xie 2023 (DiT), ImageNet 256 x 256: DiT-XL/2
Parameters 674,834,720
Cost       7 M steps of 256 latents; not run here
Data       random, in the shape of latents
Command    difjax plan --config=configs/imagenet/dit_xl2.py
"""

from ml_collections import config_dict

from configs import parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = parts.dit(
    'XL', patch=2, num_classes=1_000, out_channels=8,
    dtype=dict(ref='jax.numpy.bfloat16'),
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = parts.learned_range(network)
  config.data = dict(
    type='data.Pipeline', batch_size=256,
    source=dict(
      type='data.Synthetic', height=32, width=32, channels=4, classes=1_000,
      length=1_281_167,
    ),
  )  # fmt: skip
  config.steps = 7_000_000
  config.optimiser = parts.adam(parts.constant(1e-4), clip_norm=None)
  config.ema = dict(main=dict(type='training.ConstantEMA', rate=0.9999))
  config.mesh = dict(type='training.Mesh', data=-1, fsdp=16)
  config.rules = parts.dit_rules()
  config.checkpoints = parts.checkpoints(every=5_000, keep_every=50_000)
  config.plan = dict(type='evaluation.Slices', names=('v5e-256', 'v4-32'))
  return config
