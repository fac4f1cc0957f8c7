"""NCSNv2 on CelebA at 64 x 64.

The official sigmas, 0.01 to 90, are doubled: data are in [-1, 1]. The network
is score SDE's; the published figures are of one with half the channels in its
refinement at 1/2 scale.

Paper      Song & Ermon 2020 (NCSNv2), table 1
Published  FID 10.23 at 2,501 evaluations
Parameters 33,970,563
Cost       210 k steps of 128 images; not run here
Data       tensorflow-datasets' celeb_a, prepared; cropped to 140 x 140, scaled
           to 64 x 64
Command    difjax train --config=configs/celeba/ncsnv2.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ncsnv2(sde.refinenet(), 90.0, levels=500, snr=0.128, steps=5)
  return sde.experiment(
    system, sde.celeba(), steps=210_000, optimiser=sde.plain_adam(1e-4)
  )
