"""ADM on ImageNet at 64 x 64, class-conditional, with dropout.

Paper      Dhariwal & Nichol 2021 (ADM), ImageNet 64 x 64
Published  FID 2.07 at 250 evaluations
Parameters 295,904,454
Cost       540 k steps of 2,048 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet64/adm.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.adm(64, channels=192, blocks=3, dropout=0.1)
  return adm.experiment(
    adm.hybrid(network, adm.cosine()), adm.imagenet(64, batch_size=2_048),
    steps=540_000, rate=3e-4,
  )
