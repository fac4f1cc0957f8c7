"""The arguments of ADM's networks and diffusions, under either set of names.

A network has those of its constructor (`model_channels`,
`attention_resolutions` as factors of downsampling) or those of the official
scripts (`num_channels`, `attention_resolutions` as sizes of images,
`classifier_width`). What the weights tell needs no argument; one that says
otherwise is refused by name. What they cannot tell: the heads of attention and
their layout, the size of images, and all of the diffusion.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Final

from difjax import errors
from difjax.interop import base

# The official scripts' defaults, of what the weights cannot tell.
_DEFAULTS: Final = types.MappingProxyType({
  'diffusion_steps': 1000,
  'distillation': False,
  'dropout': 0.0,
  'noise_schedule': 'linear',
  'num_head_channels': -1,
  'num_heads_upsample': -1,
  'predict_xstart': False,
  'rescale_learned_sigmas': False,
  'rescale_timesteps': False,
  'schedule_sampler': 'uniform',
  'sigma_data': 0.5,
  'sigma_max': 80.0,
  'sigma_min': 0.002,
  'sigma_small': False,
  'timestep_respacing': '',
  'training_mode': '',
  'use_checkpoint': False,
  'use_ddim': False,
  'use_kl': False,
  'use_new_attention_order': False,
  'weight_schedule': 'karras',
})
# Known beside those above: told by the weights, or without effect here.
_OTHERS: Final = (
  'attention_resolutions', 'channel_mult', 'class_cond',
  'classifier_attention_resolutions', 'classifier_depth', 'classifier_pool',
  'classifier_resblock_updown', 'classifier_use_fp16',
  'classifier_use_scale_shift_norm', 'classifier_width', 'conv_resample',
  'dims', 'image_size', 'in_channels', 'large_size', 'learn_sigma',
  'model_channels', 'num_channels', 'num_classes', 'num_heads',
  'num_res_blocks', 'out_channels', 'pool', 'resblock_updown', 'small_size',
  'use_fp16', 'use_scale_shift_norm',
)  # fmt: skip
_CLASSIFIER = 'classifier_'
_RENAMED: Final = types.MappingProxyType({
  'depth': 'num_res_blocks', 'width': 'num_channels',
})  # fmt: skip


class Settings(base.Lookups):
  """Official arguments.

  Attributes:
    given: by name.
  """

  family = 'ADM'

  def __init__(self, config: Any) -> None:
    """Takes the arguments, within `{'config': ...}` or not.

    Raises:
      ConfigError: one is written nearly like an official one.
    """
    config = config.to_dict() if hasattr(config, 'to_dict') else config or {}
    given: Mapping[str, Any] = config.get('config', config)
    data = given.get('data') or {}  # of an experiment of ours
    shape = {'image_size': data['image_size']} if 'image_size' in data else {}
    self.given = {**shape, **given}
    base.check_names('ADM', self.given, (*_DEFAULTS, *_OTHERS))

  def network(self, *, classifier: bool) -> Settings:
    """Returns the arguments of one of the two networks of the scripts.

    Those of a classifier begin with `classifier_`, and lose that; where there
    are any, the others that it shares with a U-Net are the latter's.
    """
    own = {
      name.removeprefix(_CLASSIFIER): value
      for name, value in self.given.items() if name.startswith(_CLASSIFIER)}
    rest = {
      name: value for name, value in self.given.items()
      if not name.startswith(_CLASSIFIER)}
    if not (classifier and own):
      return Settings(rest)
    renamed = {_RENAMED.get(name, name): value for name, value in own.items()}
    return Settings(renamed | {
      name: rest[name] for name in ('image_size',) if name in rest})

  def __contains__(self, name: str) -> bool:
    """Says whether an argument is given, and not as none."""
    return self.given.get(name) not in (None, '')

  def __getitem__(self, name: str) -> Any:
    """Looks an argument up.

    Raises:
      ConfigError: it is not given and has no default.
    """
    if name in self:
      return self.given[name]
    if name in _DEFAULTS:
      return _DEFAULTS[name]
    raise errors.ConfigError(
      f'ADM: the checkpoint does not tell {name} and the config lacks it; give '
      f'the official arguments, or --arch.{name}=VALUE')

  @property
  def scripted(self) -> bool:
    """Whether the names are those of the scripts, not of a constructor."""
    return 'model_channels' not in self

  def first(self, *names: str) -> str | None:
    """Returns the first of several names that is given."""
    return next((name for name in names if name in self), None)

  def numbers(self, name: str) -> tuple[float, ...]:
    """Looks several numbers up, in a list or between commas.

    Raises:
      ConfigError: they are something else.
    """
    value = self[name]
    parts = value.split(',') if hasattr(value, 'split') else value
    try:
      return tuple(float(part) for part in parts)
    except (TypeError, ValueError):
      if hasattr(value, 'real'):  # a single one, as a command line has it
        return (float(value),)
      raise self.wrong(name, 'a list of numbers') from None

  def agree(self, name: str, here: Any, there: Any) -> None:
    """Checks an argument against what the checkpoint tells.

    Raises:
      ConfigError: they differ.
    """
    if name in self and here != there:
      raise errors.ConfigError(
        f'ADM: {name} is {self[name]!r} in the config, but the checkpoint was '
        f'made with {there}')
