"""DiT-B/4 on ImageNet at 64 x 64 pixels, by its own diffusion.

Paper      Peebles & Xie 2023 (DiT), whose figures are of latents; this
           pixel-space model has no published number
Parameters 130,389,600
Cost       400 k steps of 256 images; not run here
Data       tensorflow-datasets' imagenet_resized/64x64, prepared
Command    difjax train --config=configs/imagenet64/dit_b4_ddpm.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts
from configs.imagenet64 import dit_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  objective = parts.learned_range(dit_parts.network(out_channels=6))
  return dit_parts.experiment(
    objective, dict(type='sampling.DDIM', eta=1.0),
    dict(type='sampling.Levels', steps=250),
  )  # fmt: skip
