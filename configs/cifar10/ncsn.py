"""NCSN on CIFAR-10, as first published.

The official one cannot start: its network calls a norm that it has not made,
its file states no model.num_classes. The official sigmas, 0.01 to 1, are
doubled: data are in [-1, 1].

Paper      Song & Ermon 2019, table 1
Published  FID 25.32, IS 8.87 at 1,000 evaluations
Parameters 34,428,675
Cost       300 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsn.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ncsn(1.0, levels=10, snr=0.316, steps=100)
  system['ema'] = 0.0  # the parameters themselves
  return sde.experiment(
    system, sde.cifar10(), steps=300_000, optimiser=sde.plain_adam(1e-3)
  )
