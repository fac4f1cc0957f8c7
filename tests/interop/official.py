"""A tiny checkpoint of score_sde_pytorch, laid out as its own are."""

from __future__ import annotations

import jax
import numpy as np

from difjax import config as configs
from difjax import pytree
from difjax.interop import score_sde_keys, score_sde_settings
from tests.interop import files

# DDPM++ of one level on the digits: 8 x 8 pixels, one channel.
CONFIG = {
  'training': {'sde': 'subvpsde', 'continuous': True, 'reduce_mean': True},
  'data': {'image_size': 8, 'num_channels': 1, 'centered': True},
  'model': {
    'name': 'ncsnpp', 'nf': 8, 'ch_mult': [1], 'num_res_blocks': 1,
    'attn_resolutions': [], 'dropout': 0.0, 'conditional': True,
    'resamp_with_conv': True, 'nonlinearity': 'swish', 'skip_rescale': True,
    'init_scale': 0.0, 'scale_by_sigma': False, 'resblock_type': 'biggan',
    'fir': False, 'fir_kernel': [1, 3, 3, 1], 'embedding_type': 'positional',
    'progressive': 'none', 'progressive_input': 'none', 'num_scales': 1000,
    'sigma_min': 0.01, 'sigma_max': 50.0,
  },
}  # fmt: skip
NETWORK = {
  'type': 'networks.UNet', 'channels': 8, 'multipliers': (1,),
  'blocks_per_level': 1, 'attention_resolutions': (), 'dropout': 0.0,
}  # fmt: skip


def flags(*without):
  """CONFIG as flags of the command line, but for some."""
  return [
    f'--arch.{section}.{key}={value}'
    for section, values in CONFIG.items()
    for key, value in values.items()
    if f'{section}.{key}' not in without
  ]


def weights(seed):
  """Random weights: ours by path, theirs by name in their order."""
  network = configs.build(NETWORK)
  abstract = jax.eval_shape(
    network.init, jax.random.key(0), np.zeros((1, 8, 8, 1)), np.zeros(1)
  )
  rng = np.random.default_rng(seed)
  ours = {
    name: rng.normal(0, 0.1, leaf.shape).astype(np.float32)
    for name, leaf in pytree.named_leaves(abstract['params'])
  }
  settings = score_sde_settings.Settings(CONFIG, {})
  layout = score_sde_keys.names(
    score_sde_keys.architecture(settings), flax=False
  )
  theirs = {}
  for path, names in layout:
    if path in ours:
      parts = np.split(ours[path], len(names), -1)
      theirs |= dict(zip(names, map(_turned, names, parts), strict=True))
  return ours, theirs


def _turned(name, array):
  """Output first, as PyTorch has weights."""
  if not name.endswith('.weight'):
    return array
  axes = (-1, -2)[: array.ndim]
  return np.moveaxis(array, axes, (0, 1)[: array.ndim])


def checkpoint(**more):
  """The bytes of a .pth file, and our weights: the average, the last ones."""
  (average, ema), (last, model) = weights(1), weights(2)
  arrays = {f'module.{name}': array for name, array in model.items()}
  arrays |= {f'ema {i}': array for i, array in enumerate(ema.values())}
  arrays['module.sigmas'] = np.geomspace(50.0, 0.01, 1000)
  tensors, storages = files.tensors(**arrays)
  tree = {
    'optimizer': {},
    'model': {k: v for k, v in tensors.items() if k.startswith('module.')},
    'ema': {
      'decay': 0.999, 'num_updates': 7,
      'shadow_params': [tensors[f'ema {i}'] for i in range(len(ema))],
    },
    'step': 7,
    **more,
  }  # fmt: skip
  return files.archive(files.pickled(tree), storages), average, last


