"""DDPM on CelebA-HQ at 256 x 256, by its own network.

Paper      Ho et al. 2020 (DDPM), CelebA-HQ 256 x 256
Published  samples only, at 1,000 evaluations
Parameters 113,673,219
Cost       500 k steps of 64 images; not run here
Data       celebahq-r08.tfrecords by
           https://github.com/tkarras/progressive_growing_of_gans; difjax data
           index data/celebahq
Command    difjax train --config=configs/celebahq/ddpm_256.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  data = sde.stylegan(
    'data/celebahq/celebahq-r08.tfrecords', batch_size=64
  )
  system = sde.vp_discrete(sde.original_ddpm_256(), sde.SMALL)
  return sde.experiment(
    system, data, steps=500_000, optimiser=sde.adam(2e-5)
  )
