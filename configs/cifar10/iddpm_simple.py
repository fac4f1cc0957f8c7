"""Improved DDPM on CIFAR-10: L_simple, the linear schedule.

Paper      Nichol & Dhariwal 2021 (improved DDPM), ablation of objectives and
           schedules
Published  figures not confirmed here
Parameters 52,542,979
Cost       500 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/iddpm_simple.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import adm_parts as adm


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  network = adm.iddpm(32, dropout=0.3)
  objective = adm.simple(network, adm.linear(adm.MANY))
  return adm.experiment(
    objective, adm.cifar10(), steps=500_000, evaluations=adm.MANY
  )
