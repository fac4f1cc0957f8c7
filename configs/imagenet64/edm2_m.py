"""EDM2-M on ImageNet at 64 x 64 pixels.

Published are 497,803,173 parameters: 768 of ours are fixed
frequencies and phases. Widths of averages are chosen after training, by
`difjax ema`; bfloat16 stands for the official float16.

Paper      Karras et al. 2024 (EDM2), preset edm2-img64-m
Published  FID 1.43 at 63 evaluations
Parameters 497,803,941
Cost       1,048,576 steps of 2,048 images; not run here
Data       tensorflow-datasets' imagenet_resized/64x64, prepared
Command    difjax train --config=configs/imagenet64/edm2_m.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import edm2_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  return edm2_parts.imagenet64(
    channels=256, rate=0.009, dropout=0.1, mega_images=2_048
  )
