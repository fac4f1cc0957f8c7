"""U-ViT-S/2 on CIFAR-10 under the continuous VP SDE.

Paper      Bao et al. 2023 (U-ViT), table 1: CIFAR-10, U-ViT-S/2
Published  FID 3.11 at 1,000 evaluations
Parameters 44,255,328
Cost       500 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/uvit_s2.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import parts
from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = dict(
    type='networks.UViT', patch=(2, 2), width=512, depth=12, heads=8
  )
  optimiser = parts.adam(
    parts.warmup(2e-4, 2_500), clip_norm=None, b1=0.99, b2=0.999
  )
  return sde.experiment(
    sde.vp(network), sde.cifar10(), steps=500_000,
    optimiser=optimiser | dict(weight_decay=0.03),
  )  # fmt: skip
