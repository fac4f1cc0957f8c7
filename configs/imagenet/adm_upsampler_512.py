"""ADM that enlarges ImageNet from 128 x 128 to 512 x 512.

Its training makes the small images; a work directory has none to sample from:
`denoiser(params, cond)` with cond["low_res"] does.

Paper      Dhariwal & Nichol 2021 (ADM), ADM-U: 128 to 512
Published  FID 3.85 of guided samples of 128 x 128
Parameters 308,835,270
Cost       1.05 M steps of 256 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet/adm_upsampler_512.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.adm(
    512, channels=192, attention_resolutions=(32, 16), stem_channels=192,
    multipliers=adm.MULTIPLIERS[256],
  )  # fmt: skip
  objective = adm.upsampling(adm.hybrid(network, adm.linear()))
  return adm.experiment(objective, adm.imagenet(512), steps=1_050_000)
