"""Improved DDPM on ImageNet at 64 x 64, class-conditional.

Paper      Nichol & Dhariwal 2021 (improved DDPM), ImageNet 64 x 64,
           class-conditional, 270 M
Published  FID 2.92 at 250 evaluations
Parameters 273,049,350
Cost       250 k steps of 2,048 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet64/iddpm_cond.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.iddpm(64, channels=192, num_classes=1_000)
  return adm.experiment(
    adm.hybrid(network, adm.cosine(adm.MANY)),
    adm.imagenet(64, batch_size=2_048, flip=False), steps=250_000, rate=3e-4,
  )
