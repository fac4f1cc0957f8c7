"""ADM on ImageNet at 128 x 128, class-conditional.

Paper      Dhariwal & Nichol 2021 (ADM), ImageNet 128 x 128: ADM-G
Published  FID 2.97 at 250 evaluations, guided by adm_classifier_128.py at scale
           0.5
Parameters 421,529,606
Cost       4.36 M steps of 256 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet/adm_128.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.adm(128, attention=adm.heads(4))
  return adm.experiment(
    adm.hybrid(network, adm.linear()), adm.imagenet(128), steps=4_360_000
  )
