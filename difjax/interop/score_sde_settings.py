"""The official config of score SDE, read with its defaults."""

from __future__ import annotations

import operator
import types
from collections.abc import Collection, Mapping
from typing import Any, Final

from difjax import config as configs
from difjax import errors
from difjax.interop import base

# What the official configs leave to their defaults; the rest must be given.
_DEFAULTS: Final = types.MappingProxyType({
  'data.centered': False,
  'data.num_channels': 3,
  'model.beta_max': 20.0,
  'model.beta_min': 0.1,
  'model.embedding_type': 'fourier',
  'model.fourier_scale': 16.0,
  'model.init_scale': 0.0,
  'model.progressive_combine': 'sum',
  'model.sigma_min': 0.01,
  'training.continuous': True,
  'training.likelihood_weighting': False,
  'training.reduce_mean': False,
})
# Those that differ between the official default configs.
_BY_DATASET: Final = types.MappingProxyType({
  name: types.MappingProxyType({
    'data.image_size': size, 'model.dropout': dropout,
    'model.num_scales': levels, 'model.sigma_max': sigma_max,
  })
  for name, size, dropout, levels, sigma_max in (
    ('cifar10', 32, 0.1, 1000, 50.0),
    ('celeba', 64, 0.1, 1000, 90.0),
    ('lsun', 256, 0.0, 2000, 378.0),
  )
})  # fmt: skip

# What the official configs say in the sections that are read, used or not.
_KNOWN: Final = types.MappingProxyType({
  'data': (
    'category centered dataset image_size num_channels random_flip '
    'tfrecords_path uniform_dequantization'
  ),
  'model': (
    'attention_type attn_resolutions beta_max beta_min ch_mult conditional '
    'conv_size dropout ema_rate embedding_type fir fir_kernel fourier_scale '
    'init_scale interpolation name nf nonlinearity normalization '
    'num_res_blocks num_scales progressive progressive_combine '
    'progressive_input resamp_with_conv resblock_type scale_by_sigma '
    'sigma_begin sigma_max sigma_min skip_rescale'
  ),
  'training': (
    'batch_size continuous continuouse eval_freq likelihood_weighting '
    'log_freq loss n_iters n_jitted_steps reduce_mean sde snapshot_freq '
    'snapshot_freq_for_preemption snapshot_sampling'
  ),
})
_UNREAD: Final = ('device', 'eval', 'evaluate', 'optim', 'sampling', 'seed')


class Settings(base.Lookups):
  """An official config, read with its defaults.

  Attributes:
    config: the nested mappings.
  """

  family, least = 'score SDE', 0

  def __init__(self, config: Any, known: Mapping[str, Any]) -> None:
    """Takes a config, within `{'config': ...}` or not.

    Args:
      config: the official ConfigDict or the same as nested mappings.
      known: values by dotted name that the checkpoint itself tells.

    Raises:
      ConfigError: a key is none of the official configs'.
    """
    config = config.to_dict() if hasattr(config, 'to_dict') else config or {}
    self.config = config.get('config', config)
    self._known = known
    _check_keys('', self.config, (*_KNOWN, *_UNREAD))
    for section, keys in _KNOWN.items():
      if isinstance(self.config.get(section), Mapping):
        _check_keys(f'{section}.', self.config[section], keys.split())

  def __getitem__(self, name: str) -> Any:
    """Looks a dotted name up.

    Raises:
      ConfigError: neither the config nor its defaults nor the file have it.
    """
    section, _, key = name.partition('.')
    given = self.config.get(section) or {}
    if not isinstance(given, Mapping):
      raise errors.ConfigError(
        f'score SDE: {section} is {given!r} in the config, not a section with '
        'keys')
    if key in given:
      return given[key]
    dataset = str((self.config.get('data') or {}).get('dataset', '')).lower()
    for source in (self._known, _DEFAULTS, _BY_DATASET.get(dataset, {})):
      if name in source:
        return source[name]
    raise errors.ConfigError(
      f'score SDE: {name} is not in the checkpoint and the config lacks it; '
      f'give the official config, or --arch.{name}=VALUE')

  def counts(self, name: str) -> tuple[int, ...]:
    """Looks a list of whole numbers up.

    Raises:
      ConfigError: it is something else.
    """
    try:
      return tuple(operator.index(each) for each in self[name])
    except TypeError:
      raise self.wrong(name, 'a list of whole numbers') from None


def _check_keys(
  prefix: str, given: Mapping[str, Any], known: Collection[str]
) -> None:
  """Refuses a key that no official config has, for it would go unread."""
  for key in given:
    if key not in known:
      close = configs.nearest(str(key), known)
      hint = f'; did you mean {prefix + close!r}?' if close else ''
      raise errors.ConfigError(
        f'score SDE: the official config has no {prefix + str(key)!r}{hint}')
