"""From a network of ours to the arguments that EDM's constructors would have.

The way back of `edm_arguments`. What a preconditioning does is told by none of
our weights, so that each of them is proposed, EDM's own first; but where a
variance is learned there is only iDDPM's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from difjax import config as configs
from difjax.interop import base, edm_arguments
from difjax.typing import Params, Shape

_FOURIER = ('networks.Fourier',)
_SIGMA_DATA = 0.5
_OWN, _LEARNED = ('EDMPrecond',), ('iDDPMPrecond',)
_FILTERED = ('networks.FIRUp',)


def arguments(
  params: Params, objective: base.Spec, shape: Shape
) -> Iterator[dict[str, Any]]:
  """Yields the official arguments, for each preconditioning that may be.

  Args:
    params: of our network.
    objective: its specification.
    shape: (H, W, C) of an image.

  Raises:
    KeyError, AttributeError, TypeError: the network is no U-Net.
  """
  spec = objective['network']
  net = configs.build(spec, path='objective.network')
  code, embedding = params['time']['hidden']['kernel'].shape
  common = dict(
    img_resolution=shape[0], img_channels=shape[-1],
    label_dim=_labels(params), augment_dim=_rows(params, 'augment'),
    label_dropout=objective.get('label_dropout', 0.0),
    model_channels=net.channels, channel_mult=list(net.multipliers),
    channel_mult_emb=embedding // net.channels,
    num_blocks=net.blocks_per_level,
    attn_resolutions=list(net.attention_resolutions), dropout=net.dropout)
  if net.skip_rescale:
    common |= _song(spec, code // net.channels)
  else:
    common |= dict(model_type='DhariwalUNet')
  deviation = objective['target'].get('data_std', _SIGMA_DATA)
  learned = bool(objective.get('learned_range'))
  for kind in edm_arguments.PRECONDITIONINGS:
    if (kind in _LEARNED) != learned:
      continue
    own = dict(sigma_data=deviation) if kind in _OWN else {}
    yield dict(precond=kind, **common, **own)


def _song(spec: base.Spec, code: int) -> dict[str, Any]:
  """Returns what only score SDE's networks have."""
  encoder = next(
    (name for name, key in (
      ('skip', 'input_skip'), ('residual', 'input_residual')) if spec.get(key)),
    'standard')
  encoding = spec.get('encoding', {}).get('partial')
  up = spec.get('up', {}).get('resampling', {})
  taps = (1, 3, 3, 1) if up.get('type') in _FILTERED else (1, 1)
  return dict(
    model_type='SongUNet', channel_mult_noise=code, encoder_type=encoder,
    decoder_type='skip' if spec.get('output_skip') else 'standard',
    embedding_type='fourier' if encoding in _FOURIER else 'positional',
    resample_filter=list(up.get('kernel', taps)))


def _rows(params: Params, name: str) -> int:
  """Returns how many numbers a dense layer of the condition takes."""
  layer = params.get('within', {}).get(name)
  return 0 if layer is None else len(layer['kernel'])


def _labels(params: Params) -> int:
  """Returns the number of classes."""
  table: Mapping[str, Any] = params.get('label', {}).get('table', {})
  return len(table.get('embedding', ())) or _rows(params, 'label')
