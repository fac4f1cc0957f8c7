"""The classifier of noisy ImageNet images at 128 x 128 that leads ADM.

Random crops, of 0.8 of a side at least, are of the central square.

Paper      Dhariwal & Nichol 2021 (ADM), the classifier of 128 x 128
Published  with adm_128.py: see there
Parameters 42,568,040
Cost       300 k steps of 256 images; not run here
Data       tensorflow-datasets' imagenet2012, prepared
Command    difjax train --config=configs/imagenet/adm_classifier_128.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  return adm.classifier(128, adm.linear())
