"""NCSNv2 on CIFAR-10.

The official sigmas, 0.01 to 50, are doubled: data are in [-1, 1]. The network
is score SDE's; the published figures are of one with half the channels in its
refinement at 1/2 scale.

Paper      Song & Ermon 2020 (NCSNv2), table 1
Published  FID 10.87, IS 8.40 at 1,161 evaluations
Parameters 33,970,563
Cost       300 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsnv2.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ncsnv2(sde.refinenet(), 50.0, levels=232, snr=0.176, steps=5)
  return sde.experiment(
    system, sde.cifar10(), steps=300_000, optimiser=sde.plain_adam(1e-4)
  )
