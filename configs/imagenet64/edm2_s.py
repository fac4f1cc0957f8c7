"""EDM2-S on ImageNet at 64 x 64 pixels.

Published are 280,209,381 parameters: 640 of ours are fixed
frequencies and phases. Widths of averages are chosen after training, by
`difjax ema`; bfloat16 stands for the official float16.

Paper      Karras et al. 2024 (EDM2), preset edm2-img64-s
Published  FID 1.58 at 63 evaluations; 1.01 at 126 with
           autoguidance at scale 1.70
Parameters 280,210,021
Cost       524,288 steps of 2,048 images; not run here
Data       tensorflow-datasets' imagenet_resized/64x64, prepared
Command    difjax train --config=configs/imagenet64/edm2_s.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import edm2_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  config = edm2_parts.imagenet64(
    channels=192, rate=0.01, dropout=0.0, mega_images=1_024
  )
  config.published = dict(
    type='evaluation.Published', figures=dict(fid=1.58), evaluations=63,
    reference='ImageNet 64 x 64, of EDM2', source='EDM2, edm2-img64-s',
  )
  return config
