"""Improved DDPM on ImageNet at 64 x 64: L_simple, the linear schedule.

Paper      Nichol & Dhariwal 2021 (improved DDPM), ablation of objectives and
           schedules
Published  figures not confirmed here
Parameters 121,060,483
Cost       1.5 M steps of 128 images, as the others; not run here
Data       tensorflow-datasets' downsampled_imagenet/64x64, prepared
Command    difjax train --config=configs/imagenet64/iddpm_simple.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  objective = adm.simple(adm.iddpm(64), adm.linear(adm.MANY))
  return adm.experiment(
    objective, adm.downsampled(128), steps=1_500_000, evaluations=adm.MANY
  )
