"""NCSN++ (deep) on CIFAR-10 under the continuous VE SDE.

The official sigmas, 0.01 to 50, are doubled: data are in [-1, 1].

Paper      Song et al. 2021 (score SDE), table 3: NCSN++ cont. (deep, VE)
Published  FID 2.20, IS 9.89 at 2,000 evaluations
Parameters 107,587,075
Cost       950 k steps of 128 images; not run here
Data       https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
Command    difjax train --config=configs/cifar10/ncsnpp_ve_deep.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde

NOTE = (
  'compiles for minutes, since its blocks are not scanned: each of a level '
  'gives or takes a skip, those at its ends have other shapes, and official '
  'checkpoints name every block'
)


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ve(
    sde.ncsnpp(encoding=sde.FOURIER, blocks_per_level=8), 50.0, snr=0.16
  )
  config = sde.experiment(system, sde.cifar10(), steps=950_000)
  config.plan = dict(
    type='evaluation.Slices', names=('v5e-8',), image=(32, 32, 3), note=NOTE
  )
  return config
