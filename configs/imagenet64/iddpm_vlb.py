"""Improved DDPM on ImageNet at 64 x 64: L_vlb, the cosine schedule.

Paper      Nichol & Dhariwal 2021 (improved DDPM), ImageNet 64 x 64: L_vlb
Published  3.53 bits/dim at 4,000 evaluations
Parameters 121,063,942
Cost       1.5 M steps of 128 images; not run here
Data       tensorflow-datasets' downsampled_imagenet/64x64, prepared
Command    difjax train --config=configs/imagenet64/iddpm_vlb.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  objective = adm.bound(adm.iddpm(64), adm.cosine(adm.MANY))
  return adm.experiment(
    objective, adm.downsampled(128), steps=1_500_000, evaluations=adm.MANY
  )
