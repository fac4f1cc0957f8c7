"""NCSN on CelebA at 64 x 64 with NCSNv2's techniques 1, 2 and 4: noise levels.

The official one cannot start: its network calls a norm that it has not made,
its file states no model.num_classes. The official sigmas, 0.01 to 90, are
doubled: data are in [-1, 1].

Paper      Song & Ermon 2020 (NCSNv2), techniques 1, 2 and 4
Published  none
Parameters 57,384,195
Cost       210 k steps of 128 images; not run here
Data       tensorflow-datasets' celeb_a, prepared; cropped to 140 x 140, scaled
           to 64 x 64
Command    difjax train --config=configs/celeba/ncsn_scales.py --workdir=DIR
"""

from ml_collections import config_dict

from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns the experiment."""
  system = sde.ncsn(90.0, levels=500, snr=0.128, steps=5)
  system['ema'] = 0.0  # the parameters themselves
  return sde.experiment(
    system, sde.celeba(), steps=210_000, optimiser=sde.plain_adam(1e-3)
  )
