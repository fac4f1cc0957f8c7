"""The classifier of noisy ImageNet images at 512 x 512 that leads ADM.

Steps and optimiser are those given for 128 pixels. Random crops, of 0.8 of a
side at least, are of the central square.

Paper      Dhariwal & Nichol 2021 (ADM), the classifier of 512 x 512
Published  with adm_512.py: see there
Parameters 54,448,360
Cost       300 k steps of 256 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet/adm_classifier_512.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  return adm.classifier(512, adm.linear())
