"""EDM2-XXL on the latents of ImageNet at 512 x 512.

Latents are 64 x 64 x 4, those of Stable Diffusion's autoencoder, scaled to a
standard deviation of 0.5. No source gives them yet: the data here are random
bytes of their shape, which is what a plan and a measurement of speed need.

Paper      Karras et al. 2024 (EDM2), preset edm2-img512-xxl
Published  FID 1.91 at 63 evaluations
Parameters 1,523,165,925
Cost       458,752 steps of 2,048 latents; not run here
Data       random, in the shape of latents
Command    difjax plan --config=configs/imagenet/edm2_xxl.py
"""

from ml_collections import config_dict

from configs import edm2_parts

NOTE = (
  'compiles for minutes, since its blocks are not scanned: a level has three, '
  'each takes a skip on the way up, most differ in shape, and official '
  'checkpoints name every block'
)


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  config = edm2_parts.imagenet512(
    channels=448, rate=0.0065, dropout=0.1, mega_images=896
  )
  config.mesh = dict(type='training.Mesh', data=-1, fsdp=32)
  config.plan = dict(
    type='evaluation.Slices', names=('v5p-256',), note=NOTE
  )
  return config
