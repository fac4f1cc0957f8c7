"""DDPM on CelebA-HQ at 256 x 256.

The official file names the images of 1024 x 1024 pixels; here it is those of
256.

Paper      Song et al. 2021 (score SDE), configs/vp/ddpm/celebahq; Ho et al.
           2020
Published  samples only, at 1,000 evaluations
Parameters 111,569,923
Cost       2.4 M steps of 64 images; not run here
Data       celebahq-r08.tfrecords by
           https://github.com/tkarras/progressive_growing_of_gans; difjax data
           index data/celebahq
Command    difjax train --config=configs/celebahq/ddpm_vp_discrete_256.py
             --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.vp_discrete(sde.ddpm_256())
  data = sde.stylegan(
    'data/celebahq/celebahq-r08.tfrecords', batch_size=64
  )
  return sde.experiment(
    system, data, steps=2_400_000, optimiser=sde.adam(2e-5)
  )
