"""Improved DDPM on CIFAR-10: L_vlb, the cosine schedule.

Paper      Nichol & Dhariwal 2021 (improved DDPM), CIFAR-10: L_vlb
Published  FID 11.5 at 4,000 evaluations, 2.94 bits/dim
Parameters 52,546,438
Cost       500 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/iddpm_vlb.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.iddpm(32, dropout=0.3)
  objective = adm.bound(network, adm.cosine(adm.MANY))
  return adm.experiment(
    objective, adm.cifar10(), steps=500_000, evaluations=adm.MANY
  )
