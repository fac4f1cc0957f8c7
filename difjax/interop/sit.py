"""Checkpoints of SiT (Ma et al., 2401.08740), in the space of latents.

The files and the network are those of DiT. Official time u runs from noise at 0
to data at 1 and is the network's time input as it is; our t is 1 - u:

| path_type | process       | prediction | target                           |
|-----------|---------------|------------|----------------------------------|
| Linear    | RectifiedFlow | velocity   | dx/du, our velocity's negative   |
| GVP       | Cosine        | score      | Score                            |
| VP        | VP            | noise      | Noise                            |

`loss_weight` weighs the noise's error as that of the velocity (velocity) or by
half the likelihood's weight (likelihood); a velocity has no weight. Noise and
score are trained and sampled at `train_eps` from the ends. A velocity has no
singular end and is trained up to both; our processes stop a little before
them, for the solvers that divide by alpha, but grids may go to 0 and 1. The
official `sample_eps` is not read: where sampling ends is a matter of its grid.

With `learn_sigma`, as in the released file, the head has twice the channels
and the second half is never used; it is kept, as the network's spare channels.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Final

from difjax import errors
from difjax.interop import base, dit_layout

_EPS, _EPS_VP = 1e-3, 1e-5  # official `train_eps`, where the run does not say

_PATHS: Final = types.MappingProxyType({
  'processes.RectifiedFlow': 'Linear', 'processes.Cosine': 'GVP',
  'processes.VP': 'VP',
})  # fmt: skip
_TARGETS: Final = types.MappingProxyType({
  'denoising.Velocity': 'velocity', 'denoising.Score': 'score',
  'denoising.Noise': 'noise',
})  # fmt: skip


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint may be one of SiT; DiT's look the same."""
  return dit_layout.recognises(tree)


def convert(
  tree: Mapping[str, Any], config: Any, *, ema: bool = True
) -> base.Converted:
  """Turns a checkpoint into a network, its weights and its objective.

  Args:
    tree: what `container.read` gives.
    config: arguments of the official `SiT` and `create_transport`, within
      `{'config': ...}` or not. All of the former but `num_heads` are told by
      the file, and are checked; the latter have the official defaults, or the
      run's flags: Linear, velocity, no weight.
    ema: averaged weights, not those of the last step.

  Raises:
    CheckpointError: weights are missing, unknown or of another network.
    ConfigError: `num_heads` is not known, or an argument is not the file's or
      not one of SiT's.
  """
  found = dit_layout.read(tree, config, ema=ema)
  network, shape = dit_layout.network(found)
  spare = network['out_channels'] - shape[-1]
  network |= dict(out_channels=shape[-1], spare_channels=spare)
  spec = dict(
    type='objectives.Denoising', network=network,
    inputs=dict(type='denoising.InputMap', noise=dict(
      type='denoising.Linear', factor=-1.0, offset=1.0)),
    times=dict(type='objectives.UniformTimes', stratified=False),
    label_dropout=dit_layout.label_dropout(found), **_transport(found.args))
  return base.Converted(
    spec=spec, network=network,
    params=dit_layout.params(found, network['depth']),
    info=dict(
      family='sit', weights=found.kind, **dit_layout.facts(network, shape)))


def official(objective: base.Spec) -> dict[str, Any]:
  """Returns what an objective of ours tells that no weight does."""
  told = dict(num_heads=objective['network']['heads'])
  for name, part, words in (
    ('path_type', 'process', _PATHS), ('prediction', 'target', _TARGETS)
  ):
    kind = objective.get(part, {}).get('type')
    told |= {name: words[kind]} if kind in words else {}
  return told


def _transport(args: Mapping[str, Any]) -> base.Spec:
  """Returns process, target and weighting of an objective.

  Raises:
    ConfigError: an argument is not one of SiT's.
  """
  noise, velocity = (
    dict(type=f'denoising.{name}') for name in ('Noise', 'Velocity'))
  weight = _choice(args, 'loss_weight', None, {
    None: dict(type='objectives.UniformWeighting', of=noise),
    'velocity': dict(type='objectives.UniformWeighting', of=velocity),
    'likelihood': dict(type='objectives.LikelihoodWeighting', factor=0.5)})
  plain = dict(type='objectives.UniformWeighting')
  target, weighting, regular = _choice(args, 'prediction', 'velocity', {
    'velocity': (velocity | dict(factor=-1.0), plain, True),
    'score': (dict(type='denoising.Score'), weight, False),
    'noise': (noise, weight, False)})
  name, default, early = _choice(args, 'path_type', 'Linear', {
    'Linear': ('RectifiedFlow', _EPS, True),
    'GVP': ('Cosine', _EPS, True),
    'VP': ('VP', _EPS_VP, False)})
  process = dict(type=f'processes.{name}')
  if not (regular and early):
    eps = args.get('train_eps')
    eps = default if eps is None else float(eps)
    process |= dict(t_min=eps) | (dict(t_max=1 - eps) if early else {})
  return dict(process=process, target=target, weighting=weighting)


def _choice(
  args: Mapping[str, Any], name: str, default: Any, options: Mapping[Any, Any]
) -> Any:
  """Looks an argument up and gives what it stands for.

  Raises:
    ConfigError: it is none of the options.
  """
  value = args.get(name, default)
  if value not in options:
    raise errors.ConfigError(
      f'{name} is {value!r} in the config; known are '
      f'{", ".join(map(str, options))}')
  return options[value]
