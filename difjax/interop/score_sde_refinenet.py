"""NCSN, NCSNv2 and the WideResNet of score SDE, in JAX and in PyTorch.

The two official codes differ in more than the names of layers: PyTorch's
interpolates with aligned corners, divides a variance by C - 1, and has half
the channels in one refinement at 64. Its networks cannot be built as published
(a bias that is None is scaled, dilated convolutions shrink the image, NCSN
takes the wrong norm), nor can NCSN in JAX: the maps are for the codes with
these faults mended.

The file says which network it holds; the config says what weights do not: the
range of images, and noise levels where PyTorch's table of them is absent. The
denoiser's process is a ladder for data in [-1, 1], as in `score_sde`. The
classifier is in JAX only, its file the bare parameters.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from difjax import errors
from difjax.interop import (
  base,
  score_sde_refinenet_keys,
  score_sde_settings,
  score_sde_weights,
)
from difjax.typing import Params

# By model.name: PyTorch's stages, and the fields of our network.
_REFINENETS: Final = types.MappingProxyType({
  'ncsn': ('1 2 3 4', (1, 2, 2, 2), (1, 1, 2, 4), (1, 2, 2, 2)),
  'ncsnv2_64': ('1 2 3 4', (1, 2, 2, 2), (1, 1, 2, 4), (1, 2, 2, 2)),
  'ncsnv2_128': (
    '1 2 3 4 5', (1, 2, 2, 4, 4), (1, 1, 1, 2, 4), (1, 1, 2, 2, 4)),
  'ncsnv2_256': (
    '1 2 3 31 4 5', (1, 2, 2, 2, 4, 4), (1, 1, 1, 1, 2, 4),
    (1, 1, 2, 2, 2, 4)),
})  # fmt: skip
_NARROW = (1, 1, 2, 2)  # the refinements of PyTorch at 64
_WIDERESNET = 'wideresnet'
_ROWS = ('gamma', 'alpha', 'beta')  # side by side in a conditional norm
# The means and standard deviations of CIFAR-10, images in [0, 1], with which
# the official code feeds the classifier.
_MEAN = (0.49139968, 0.48215841, 0.44653091)
_STD = (0.24703223, 0.24348513, 0.26158784)


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is of these networks."""
  if not isinstance(tree, Mapping):
    return False
  layers = tree.get('model', tree.get('params_ema', tree))
  return isinstance(layers, Mapping) and any(
    re.match(r'(module\.)?refine1\.|(Cond)?RefineBlock_0|WideResnetGroup_0',
             str(name)) for name in layers)


def convert(
  tree: Mapping[str, Any], config: Any, *, ema: bool = True
) -> base.Converted:
  """Turns a checkpoint into a network, its weights and its objective.

  Args:
    tree: what `container.read` gives.
    config: the official config as nested mappings, within `{'config': ...}` or
      not; what it lacks has the official default, where there is one.
    ema: averaged weights, not those of the last step.

  Raises:
    ConfigError: the config lacks something, or contradicts the checkpoint.
    CheckpointError: weights are missing, unknown, or of another shape; all of
      them are named.
  """
  weights = score_sde_weights.read(tree, ema)
  name = _model(weights)
  settings = score_sde_settings.Settings(config, _told(weights, name))
  if settings['model.name'] != name:
    raise errors.ConfigError(
      f'score SDE: model.name is {settings["model.name"]!r} in the config, but '
      f'the checkpoint holds a network of the kind {name!r}')
  parts = _classifier if name == _WIDERESNET else _score
  official, spec, layers, facts = parts(weights, settings, name)
  size = settings.count('data.image_size')
  shape = size, size, settings.count('data.num_channels')
  info = dict(
    family='score_sde', model=name, weights=weights.kind, image_shape=shape,
    container='flax' if weights.flax else 'torch',
    step=int(np.asarray(tree.get('step', 0))), **facts)
  return base.Converted(
    spec=spec, network=official, info=info,
    params=_params(
      weights, layers, score_sde_weights.shapes(official, shape)))


def _model(weights: score_sde_weights.Weights) -> str:
  """Tells the official name of a network by its layers.

  Raises:
    CheckpointError: it is none of those here.
  """
  layers = {name.split('.')[0] for name in weights.arrays}
  if 'WideResnetGroup_0' in layers:
    return _WIDERESNET
  count = sum('RefineBlock' in name or name.startswith('refine')
              for name in layers)
  if any('embed' in name for name in weights.arrays):
    return 'ncsn'
  found = {4: 'ncsnv2_64', 5: 'ncsnv2_128', 6: 'ncsnv2_256'}.get(count)
  if found is None:
    raise errors.CheckpointError(
      f'score SDE: the checkpoint has {count} refinements; NCSN and NCSNv2 '
      'have 4, 5 or 6')
  return found


def _told(weights: score_sde_weights.Weights, name: str) -> dict[str, Any]:
  """What a checkpoint tells of the config, and what all configs share."""
  told: dict[str, Any] = {
    'model.name': name, 'model.nonlinearity': 'elu',
    'model.normalization': 'InstanceNorm++', 'model.interpolation': 'bilinear',
    'model.scale_by_sigma': not _rows(weights)}
  if name == _WIDERESNET:
    return told | {'data.image_size': 32, 'model.sigma_max': 50.0}
  stem = 'Conv_0.bias' if weights.flax else 'begin_conv.bias'
  told['model.nf'] = _size(weights, stem)
  head = 'Conv_1.bias' if weights.flax else 'end_conv.bias'
  told['data.num_channels'] = _size(weights, head)
  if _rows(weights):
    told['model.num_scales'] = _rows(weights)
  return told | weights.told


def _size(weights: score_sde_weights.Weights, name: str) -> int:
  """Counts the numbers of a weight.

  Raises:
    CheckpointError: it is missing.
  """
  if name not in weights.arrays:
    _complain('lacks', [name])
  return weights.arrays[name].size


def _rows(weights: score_sde_weights.Weights) -> int:
  """Counts the rows of the conditional norms, 0 without."""
  norms = [a for name, a in weights.arrays.items() if '.embed.' in name
           or name.endswith('.embedding')]
  return max((a.shape[0] for a in norms if a.ndim), default=0)


def _score(
  weights: score_sde_weights.Weights, settings: score_sde_settings.Settings,
  name: str,
) -> tuple[base.Spec, base.Spec, dict[str, str], dict[str, Any]]:
  """A RefineNet: its official form, objective, layers and facts."""
  for key, word in (('nonlinearity', 'elu'), ('interpolation', 'bilinear'),
                    ('normalization', 'instancenorm++')):
    settings.choice(f'model.{key}', {word: True})
  stages, multipliers, dilations, refine = _REFINENETS[name]
  narrow = not weights.flax and len(refine) == len(_NARROW)
  levels, rows = settings.count('model.num_scales'), _rows(weights)
  sigmas = {
    key: settings.number(f'model.{key}') for key in ('sigma_min', 'sigma_max')}
  # PyTorch never reads scale_by_sigma here.
  divided = settings.flag('model.scale_by_sigma') if weights.flax else not rows
  network = dict(
    type='networks.RefineNet', channels=settings.count('model.nf'),
    multipliers=multipliers, dilations=dilations,
    refine_multipliers=_NARROW if narrow else refine, levels=rows,
    align_corners=not weights.flax, unbiased=not weights.flax,
    sigma=dict(type='networks.SigmaOfIndex', levels=levels, **sigmas)
    if divided else None)
  centred = settings.flag('data.centered')
  unit = 1.0 if centred else 2.0
  spec = dict(
    type='objectives.Denoising', network=network,
    process=dict(type='processes.Ladder', levels=levels, **{
      key: unit * sigma for key, sigma in sigmas.items()}),
    target=dict(type='denoising.Score', unit=unit),
    inputs=dict(type='denoising.InputMap', noise=dict(
      type='denoising.Linear', factor=-float(levels), offset=float(levels))),
    times=dict(type='objectives.LevelTimes', stratified=False),
    weighting=dict(
      type='objectives.UniformWeighting', of=dict(type='denoising.Noise')),
    reduction=dict(ref='objectives.half_sum'))
  layers = {
    ours: flax if weights.flax else torch
    for ours, flax, torch in score_sde_refinenet_keys.refinenet(
      stages, conditional=bool(rows))}
  facts = dict(sde='vesde', continuous=False, data_range=(-1, 1))
  return network | dict(unit_range=not centred), spec, layers, facts


def _classifier(
  weights: score_sde_weights.Weights, settings: score_sde_settings.Settings,
  name: str,
) -> tuple[base.Spec, base.Spec, dict[str, str], dict[str, Any]]:
  """The WideResNet: its official form, objective, layers and facts."""
  del name
  blocks = len({
    path.split('.')[1] for path in weights.arrays
    if path.startswith('WideResnetGroup_0.')})
  first = 'WideResnetGroup_0.WideResnetBlock_0'
  channels = _size(weights, f'{first}.init_bn.scale')
  network = dict(
    type='networks.WideResNet', num_classes=_size(weights, 'Dense_2.bias'),
    channels=channels,
    widening=_size(weights, f'{first}.bn_2.scale') // max(channels, 1),
    blocks_per_group=blocks,
    frequencies=_size(weights, 'GaussianFourierProjection_0.W'))
  ours = network | dict(
    mean=tuple(2 * m - 1 for m in _MEAN), std=tuple(2 * s for s in _STD))
  spec = dict(
    type='objectives.Classifier', network=ours,
    process=dict(type='processes.VE', **{
      key: 2 * settings.number(f'model.{key}')
      for key in ('sigma_min', 'sigma_max')}),
    inputs=dict(type='denoising.InputMap', noise=dict(
      type='denoising.Sigma', unit=2.0)))
  facts = dict(sde='vesde', continuous=True, data_range=(-1, 1))
  return network, spec, dict(
    score_sde_refinenet_keys.wideresnet(blocks)), facts


def _params(
  weights: score_sde_weights.Weights, layers: Mapping[str, str],
  shapes: score_sde_weights.Shapes
) -> Params:
  """Our weights, each from its place in the file.

  Raises:
    CheckpointError: some are missing, surplus or of another shape.
  """
  sources = {path: _source(path, layers, weights) for path in shapes}
  wanted = {name for name, _ in sources.values()}
  _complain('lacks', wanted - weights.arrays.keys())
  _complain(
    'has, and the config does not explain,', weights.arrays.keys() - wanted)
  found, wrong = {}, []
  for path, (name, part) in sources.items():
    array, shape = weights.arrays[name], shapes[path]
    if not weights.flax and array.ndim == 4:
      array = array.transpose(2, 3, 1, 0)
    if part is not None:
      channels = shape[-1]
      fits = array.ndim == 2 and array.shape[1] == len(_ROWS) * channels
      array = array[:, part * channels:][:, :channels] if fits else array
    squeezed = score_sde_weights.squeezed
    if squeezed(array.shape) == squeezed(shape):
      found[path] = array
    else:
      wrong.append(f'{name} {weights.arrays[name].shape} for {shape}')
  _complain('has weights of other shapes than the config says:', wrong)
  return score_sde_weights.nested(found, shapes)


def _source(
  path: str, layers: Mapping[str, str], weights: score_sde_weights.Weights
) -> tuple[str, int | None]:
  """The official name of a weight of ours, and its part of a shared table."""
  layer, _, leaf = path.rpartition('/')
  theirs = layers[layer]
  if leaf in _ROWS and _rows(weights):
    table = '.Embed_0.embedding' if weights.flax else '.embed.weight'
    return theirs + table, _ROWS.index(leaf)
  if weights.flax:
    return f'{theirs}.{leaf}', None
  return f'{theirs}.{leaf.replace("kernel", "weight")}', None


def _complain(what: str, names: Iterable[str]) -> None:
  """Names what is off about a checkpoint, if anything is."""
  listed = sorted(names)
  if listed:
    raise errors.CheckpointError(
      f'score SDE: the checkpoint {what} {", ".join(listed)}')
