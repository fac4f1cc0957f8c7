"""DiT-S/2, timed beside diffusers' DiTTransformer2DModel.

Paper      Peebles & Xie 2023 (DiT), table 1
Published  33 M parameters
Parameters 32,865,056
Cost       none: nothing is trained
Data       none: numbers drawn for the occasion
Command    difjax bench --config=configs/peers/dit.py
"""

from ml_collections import config_dict

from configs import parts


def get_config() -> config_dict.ConfigDict:
  """Returns both networks, and how they are trained."""
  theirs = dict(
    sample_size=32, in_channels=4, out_channels=8, num_layers=12,
    num_attention_heads=6, attention_head_dim=64, num_embeds_ada_norm=1_000,
  )  # fmt: skip
  network = parts.dit(
    'S', patch=2, num_classes=1_000, out_channels=8, remat=True,
    # What is cheap is computed twice: memory is what a CPU waits for.
    remat_policy=dict(
      ref='jax.checkpoint_policies.dots_with_no_batch_dims_saveable'
    ),
  )  # fmt: skip
  config = config_dict.ConfigDict()
  config.objective = parts.learned_range(network)
  config.optimiser = parts.adam(parts.constant(1e-4), clip_norm=None)
  config.peer = dict(
    type='evaluation.DiffusersPeer', network='DiTTransformer2DModel',
    fields=theirs, shape=(32, 32, 4), num_classes=1_000, batch_size=8,
  )  # fmt: skip
  return config
