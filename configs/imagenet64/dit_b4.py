"""DiT-B/4 on ImageNet at 64 x 64 pixels, by flow matching.

Paper      Peebles & Xie 2023 (network), Lipman et al. 2023 (objective); this
           pixel-space combination has no published number
Parameters 130,352,688
Cost       400 k steps of 256 images; not run here
Data       tensorflow-datasets' imagenet_resized/64x64, prepared
Command    difjax train --config=configs/imagenet64/dit_b4.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts
from configs.imagenet64 import dit_parts


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  objective = dict(parts.flow(dit_parts.network()), label_dropout=0.1)
  return dit_parts.experiment(
    objective, dict(type='sampling.Heun'),
    dict(type='sampling.Uniform', steps=50),
  )  # fmt: skip
