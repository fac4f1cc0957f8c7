"""ADM on ImageNet at 512 x 512, class-conditional.

Paper      Dhariwal & Nichol 2021 (ADM), ImageNet 512 x 512: ADM-G
Published  FID 7.72 at 250 evaluations, guided by adm_classifier_512.py at scale
           4.0
Parameters 558,997,638
Cost       1.94 M steps of 256 images; its authors: 1,914 days of a V100; not
           run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet/adm_512.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.adm(512)
  return adm.experiment(
    adm.hybrid(network, adm.linear()), adm.imagenet(512), steps=1_940_000
  )
