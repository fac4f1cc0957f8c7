"""The arguments of EDM's constructors, read with their official defaults.

A network there is two objects, the preconditioning (`EDMPrecond`, ...) and the
U-Net inside it (`SongUNet` or `DhariwalUNet`), which takes the arguments that
the preconditioning does not know. Both defaults stand here; a pickle tells what
was given.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

from difjax import errors
from difjax.interop import base

_COMMON = ('img_resolution', 'img_channels', 'label_dim', 'use_fp16')
# Of each preconditioning the further arguments, in order, with defaults.
PRECONDITIONINGS: Final = types.MappingProxyType({
  'EDMPrecond': types.MappingProxyType(dict(
    sigma_min=0.0, sigma_max=math.inf, sigma_data=0.5,
    model_type='DhariwalUNet')),
  'VPPrecond': types.MappingProxyType(dict(
    beta_d=19.9, beta_min=0.1, M=1000, epsilon_t=1e-5,
    model_type='SongUNet')),
  'VEPrecond': types.MappingProxyType(dict(
    sigma_min=0.02, sigma_max=100.0, model_type='SongUNet')),
  'iDDPMPrecond': types.MappingProxyType(dict(
    C_1=0.001, C_2=0.008, M=1000, model_type='DhariwalUNet')),
})  # fmt: skip
_NETWORKS: Final = types.MappingProxyType({
  'SongUNet': types.MappingProxyType(dict(
    model_channels=128, channel_mult=(1, 2, 2, 2), channel_mult_emb=4,
    num_blocks=4, attn_resolutions=(16,), dropout=0.1, label_dropout=0.0,
    embedding_type='positional', channel_mult_noise=1,
    encoder_type='standard', decoder_type='standard',
    resample_filter=(1, 1))),
  'DhariwalUNet': types.MappingProxyType(dict(
    model_channels=192, channel_mult=(1, 2, 3, 4), channel_mult_emb=4,
    num_blocks=3, attn_resolutions=(32, 16, 8), dropout=0.1,
    label_dropout=0.0)),
})  # fmt: skip
_ADM = 'DhariwalUNet'
_FOURIER = types.MappingProxyType({'positional': False, 'fourier': True})
_ENCODERS = types.MappingProxyType(dict(
  standard={}, skip=dict(input_skip=True), residual=dict(input_residual=True)))
_DECODERS = types.MappingProxyType(dict(
  standard={}, skip=dict(output_skip=True)))


class Arguments:
  """What the constructor of a preconditioning was called with.

  Attributes:
    kind: its class.
  """

  def __init__(
    self, kind: str, args: tuple[Any, ...], keywords: Mapping[str, Any]
  ) -> None:
    """Takes positional and keyword arguments; what lacks has its default.

    Raises:
      ConfigError: there is no such class, or an argument is misspelt.
    """
    if kind not in PRECONDITIONINGS:
      raise errors.ConfigError(
        f'EDM: there is no preconditioning {kind!r}; there are: '
        f'{", ".join(PRECONDITIONINGS)}')
    self.kind = kind
    own = PRECONDITIONINGS[kind]
    given = dict(zip((*_COMMON, *own), args, strict=False)) | dict(keywords)
    base.check_names('EDM', given, {
      'precond', 'augment_dim', *_COMMON,
      *(name for names in PRECONDITIONINGS.values() for name in names),
      *(name for names in _NETWORKS.values() for name in names)})
    self._values = dict(own, label_dim=0, use_fp16=False, augment_dim=0) | given
    network = self.choice('model_type', _NETWORKS)
    self._values = {**network, **self._values}

  def __contains__(self, name: str) -> bool:
    """Says whether an argument is given or has a default."""
    return name in self._values

  def __getitem__(self, name: str) -> Any:
    """Looks an argument up.

    Raises:
      ConfigError: it has no default and was not given.
    """
    if name not in self._values:
      raise errors.ConfigError(
        f'EDM: {name} is not in the checkpoint; give the official '
        f'constructor\'s arguments, or --arch.{name}=VALUE')
    return self._values[name]

  def number(self, name: str) -> float:
    """Looks a number up.

    Raises:
      ConfigError: it is none.
    """
    return self._as(_number, name, 'a number')

  def count(self, name: str, least: int = 0) -> int:
    """Looks a whole number of at least `least` up.

    Raises:
      ConfigError: it is none.
    """
    return self._as(
      lambda value: _count(value, least), name,
      f'a whole number of at least {least}')

  def counts(self, name: str) -> tuple[int, ...]:
    """Looks whole numbers up.

    Raises:
      ConfigError: they are none.
    """
    return self._as(
      lambda values: tuple(map(_count, values)), name, 'whole numbers above 0')

  def taps(self, name: str) -> tuple[float, ...]:
    """Looks a filter up.

    Raises:
      ConfigError: it is none that halves and doubles: there an even number of
        taps, whose sum is not zero.
    """
    return self._as(_taps, name, 'an even number of taps')

  def choice(self, name: str, options: Mapping[str, Any]) -> Any:
    """Looks a word up and gives what it stands for.

    Raises:
      ConfigError: the word is none of the options.
    """
    word = self[name]
    if not isinstance(word, str) or word not in options:
      raise errors.ConfigError(
        f'EDM: {name} is {word!r}; known are {", ".join(options)}')
    return options[word]

  def _as(self, kind: Callable[[Any], Any], name: str, wanted: str) -> Any:
    value = self[name]
    try:
      return kind(value)
    except (TypeError, ValueError):
      raise errors.ConfigError(
        f'EDM: {name} is {value!r}, not {wanted}') from None


def _number(value: Any) -> float:
  number = float(value)
  if math.isnan(number):
    raise ValueError(value)
  return number


def _count(value: Any, least: int = 1) -> int:
  number = operator.index(value)
  if number < least:
    raise ValueError(value)
  return number


def _taps(values: Any) -> tuple[float, ...]:
  taps = tuple(map(_number, values))
  if not taps or len(taps) % 2 or not sum(taps):
    raise ValueError(values)
  return taps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
  """What an official U-Net is made of.

  Attributes:
    adm: it is ADM's network, not one of score SDE's.
    size: side of the images.
    channels: of the images.
    out_channels: of its output.
    labels: classes; 0 without.
    augment: numbers that say how an image was augmented; 0 without.
    width: channels that the multipliers are of.
    stem: channels of the first convolution.
    multipliers: channels of each level over `width`.
    embedding_width: of the embedding.
    code_width: of the noise level's code.
    blocks: per level on the way down.
    attention: sides at which attention follows a block.
    dropout: rate.
    fourier: the code is the Gaussian Fourier code.
    kernel: taps of the FIR filter.
    input_skip: progressive input by images.
    input_residual: progressive input by features.
    output_skip: progressive output of images.
  """

  adm: bool
  size: int
  channels: int
  out_channels: int
  labels: int
  augment: int
  width: int
  stem: int
  multipliers: tuple[int, ...]
  embedding_width: int
  code_width: int
  blocks: int
  attention: tuple[int, ...]
  dropout: float
  fourier: bool = False
  kernel: tuple[float, ...] = (1.0, 1.0)
  input_skip: bool = False
  input_residual: bool = False
  output_skip: bool = False

  @property
  def sides(self) -> tuple[int, ...]:
    """Returns the side of each level."""
    return tuple(self.size >> i for i in range(len(self.multipliers)))


def architecture(arguments: Arguments, *, outputs: int = 1) -> Architecture:
  """Reads the network's part of the arguments.

  Args:
    arguments: of the preconditioning.
    outputs: images that the network puts out: two where a variance is learned.

  Raises:
    ConfigError: an argument is missing or is of another kind.
  """
  width, channels = (
    arguments.count(f'{of}_channels', 1) for of in ('model', 'img'))
  adm = arguments['model_type'] == _ADM
  multipliers = arguments.counts('channel_mult')
  if not multipliers:
    raise errors.ConfigError('EDM: channel_mult is empty')
  return Architecture(
    adm=adm,
    size=arguments.count('img_resolution', 1),
    channels=channels,
    out_channels=outputs * channels,
    labels=arguments.count('label_dim'),
    augment=arguments.count('augment_dim'),
    width=width,
    stem=width * (multipliers[0] if adm else 1),
    multipliers=multipliers,
    embedding_width=width * arguments.count('channel_mult_emb', 1),
    code_width=width * (
      1 if adm else arguments.count('channel_mult_noise', 1)),
    blocks=arguments.count('num_blocks'),
    attention=arguments.counts('attn_resolutions'),
    dropout=arguments.number('dropout'),
    **({} if adm else _song(arguments)),
  )


def _song(arguments: Arguments) -> dict[str, Any]:
  """Reads what only score SDE's networks have."""
  return dict(
    fourier=arguments.choice('embedding_type', _FOURIER),
    kernel=arguments.taps('resample_filter'),
    **arguments.choice('encoder_type', _ENCODERS),
    **arguments.choice('decoder_type', _DECODERS),
  )
