"""EDM on ImageNet at 64 x 64, class-conditional, by ADM's network.

bfloat16 stands for the official float16.

Paper      Karras et al. 2022 (EDM), section 5: ImageNet-64, trained anew
Published  FID 1.36 at 511 evaluations
Parameters 295,899,267
Cost       610,351 steps of 4,096 images; EDM: about 13 days on 32 A100; not run
           here
Data       tensorflow-datasets' imagenet_resized/64x64, prepared
Command    difjax train --config=configs/imagenet64/edm_adm.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import edm_parts as edm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  source = dict(
    type='data.Tfds', name='imagenet_resized/64x64', split='train'
  )
  return edm.experiment(
    edm.adm(), source, size=64, batch_size=4_096, rate=1e-4,
    sampler=edm.churned(256), images=2_500_000_000, half_life=50_000_000,
  )
