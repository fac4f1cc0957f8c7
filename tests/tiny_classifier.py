"""A classifier of noisy images that trains in seconds, and its config."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import config_dict

from tests import tiny_config


class Logits(nn.Module):
  """Two layers, by width, on the pixels and the noise level."""

  width: int = 32
  num_classes: int = 10

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    """Returns logits [B, K]."""
    pixels = jnp.reshape(x, (len(x), -1))
    seen = jnp.concatenate([pixels, noise[:, None]], axis=-1)
    return nn.Dense(self.num_classes)(nn.relu(nn.Dense(self.width)(seen)))


def get_config() -> config_dict.ConfigDict:
  """Returns the noise-conditional classifier of the digits, on VE."""
  config = tiny_config.get_config()
  config.objective = config_dict.ConfigDict(
    dict(
      type='objectives.Classifier',
      process=dict(type='processes.VE', sigma_max=10.0),
      network=dict(type='tests.tiny_classifier.Logits'),
      inputs=dict(
        type='denoising.InputMap',
        scale=dict(type='denoising.UnitVariance'),
        noise=dict(type='denoising.LogSigma', factor=1.0, unit=2.0),
      ),
    )
  )
  del config.sampler
  return config
