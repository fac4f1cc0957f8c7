"""DDPM's network for CIFAR-10, timed beside diffusers' UNet2DModel.

Paper      Ho et al. 2020 (DDPM), appendix B
Published  35.7 M parameters
Parameters 35,746,307
Cost       none: nothing is trained
Data       none: numbers drawn for the occasion
Command    difjax bench --config=configs/peers/unet.py
"""

from ml_collections import config_dict

from configs import parts
from configs import score_sde_parts as sde


def get_config() -> config_dict.ConfigDict:
  """Returns both networks, and how they are trained."""
  network = sde.ddpm(attention_every_up_block=True, dropout=0.0)
  blocks = lambda kind, at: tuple(
    ('Attn' if i == at else '') + f'{kind}Block2D' for i in range(4)
  )
  theirs = dict(
    sample_size=32, block_out_channels=(128, 256, 256, 256),
    down_block_types=blocks('Down', 1), up_block_types=blocks('Up', 2),
    freq_shift=1, flip_sin_to_cos=False, downsample_padding=0, norm_eps=1e-6,
    attention_head_dim=None,
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = sde.vp_discrete(network)['objective']
  config.optimiser = parts.adam(parts.constant(1e-4), clip_norm=None)
  config.peer = dict(
    type='evaluation.DiffusersPeer', network='UNet2DModel', fields=theirs,
    shape=(32, 32, 3), batch_size=16,
  )  # fmt: skip
  return config
