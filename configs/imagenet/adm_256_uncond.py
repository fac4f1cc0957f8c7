"""ADM on ImageNet at 256 x 256, without labels.

The repository leads it by adm_classifier_256.py at scale 10.

Paper      Dhariwal & Nichol 2021 (ADM), ImageNet 256 x 256, unconditional
Published  figures not confirmed here
Parameters 552,814,086
Cost       1.98 M steps of 256 images, as with labels; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet/adm_256_uncond.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.adm(256, num_classes=0)
  return adm.experiment(
    adm.hybrid(network, adm.linear()), adm.imagenet(256), steps=1_980_000
  )
