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
from configs.imagenet64 import dit_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  return dit_parts.experiment(
    parts.sit(dit_parts.network()), dict(type='sampling.Heun'),
    dict(type='sampling.Uniform', steps=125),
  )  # fmt: skip
