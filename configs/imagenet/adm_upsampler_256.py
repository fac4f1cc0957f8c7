"""ADM that enlarges ImageNet from 64 x 64 to 256 x 256.

Its training makes the small images; a work directory has none to sample from:
`denoiser(params, cond)` with cond["low_res"] does.

Paper      Dhariwal & Nichol 2021 (ADM), ADM-U: 64 to 256
Published  FID 3.94 of guided samples of 64 x 64
Parameters 311,795,910
Cost       500 k steps of 256 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet/adm_upsampler_256.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.adm(256, channels=192, attention=adm.heads(4))
  objective = adm.upsampling(adm.hybrid(network, adm.linear()))
  return adm.experiment(objective, adm.imagenet(256), steps=500_000)
