"""NCSN on CIFAR-10 with NCSNv2's technique 5, the EMA.

The official one cannot start: its network calls a norm that it has not made,
its file states no model.num_classes. The official sigmas, 0.01 to 1, are
doubled: data are in [-1, 1].

Paper      Song & Ermon 2020 (NCSNv2), technique 5 alone
Published  none
Parameters 34,428,675
Cost       300 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsn_ema.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ncsn(1.0, levels=10, snr=0.316, steps=100)
  return sde.experiment(
    system, sde.cifar10(), steps=300_000, optimiser=sde.plain_adam(1e-3)
  )
