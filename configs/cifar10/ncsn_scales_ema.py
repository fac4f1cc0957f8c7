"""NCSN on CIFAR-10 with all of NCSNv2's techniques but the network.

The official one cannot start: its network calls a norm that it has not made,
its file states no model.num_classes. The official sigmas, 0.01 to 50, are
doubled: data are in [-1, 1].

Paper      Song & Ermon 2020 (NCSNv2), techniques 1, 2, 4 and 5
Published  none
Parameters 44,828,931
Cost       300 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsn_scales_ema.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ncsn(50.0, levels=232, snr=0.176, steps=5)
  return sde.experiment(
    system, sde.cifar10(), steps=300_000, optimiser=sde.plain_adam(1e-3)
  )
