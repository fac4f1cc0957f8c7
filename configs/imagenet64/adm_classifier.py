"""The classifier of noisy ImageNet images at 64 x 64 that leads ADM.

Steps and optimiser are those given for 128 pixels. Random crops, of 0.8 of a
side at least, are of the central square.

Paper      Dhariwal & Nichol 2021 (ADM), the classifier of 64 x 64
Published  with adm.py: see there
Parameters 65,438,568
Cost       300 k steps of 256 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet64/adm_classifier.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  return adm.classifier(64, adm.cosine(), blocks=4)
