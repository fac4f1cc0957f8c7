"""Improved DDPM that enlarges ImageNet from 64 x 64 to 256 x 256.

Its training makes the small images; a work directory has none to sample from:
`denoiser(params, cond)` with cond["low_res"] does.

Paper      Nichol & Dhariwal 2021 (improved DDPM), upsampling to 256 x 256
Published  figures not confirmed here
Parameters 279,792,390
Cost       500 k steps of 256 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet/iddpm_upsampler_256.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.iddpm(256, channels=192, blocks=2, num_classes=1_000)
  objective = adm.upsampling(adm.hybrid(network, adm.linear(adm.MANY)))
  data = adm.imagenet(256, flip=False)
  return adm.experiment(objective, data, steps=500_000, rate=3e-4)
