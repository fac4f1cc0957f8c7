"""Checkpoints of EDM (Karras et al. 2022): its four preconditionings.

All are denoisers D(x; sigma) of images in [-1, 1], and so of our process EDM,
whose time is sigma. With F the U-Net, at the input c_in x,

| class        | D                   | c_in          | the network's time input  |
|--------------|---------------------|---------------|---------------------------|
| EDMPrecond   | c_skip x + c_out F  | 1 / sqrt(sigma^2 + d^2) | log(sigma) / 4  |
| VPPrecond    | x - sigma F         | 1 / sqrt(sigma^2 + 1) | (M - 1) t of VP   |
| VEPrecond    | x + sigma F         | 1             | log(sigma / 2)            |
| iDDPMPrecond | x - sigma F         | 1 / sqrt(sigma^2 + 1) | index of the nearest level |

c_skip and c_out as in the paper's table 1; iDDPM's F has the learned variance
beside it. Losses are theirs too: EDM's, and those of VP and VE as noise levels.

A `network-snapshot-*.pkl` holds averaged weights and all arguments, a
`training-state-*.pt` the last ones. A plain state_dict needs the arguments.
"""  # noqa: E501, a table

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from difjax import errors
from difjax.interop import (
  base,
  edm_arguments,
  edm_diffusion,
  edm_keys,
  inverse,
  persistent,
)
from difjax.typing import Params

_FAMILY = 'edm'
_INSIDE = 'model.'  # of a preconditioning, its network
_STEM = '_conv.weight'
_LEVELS = 'u'  # of iDDPM's preconditioning, with the one after the last


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Source:
  """What a file holds.

  Attributes:
    arguments: of the constructor.
    arrays: weights by official name, of the network alone.
    kind: which weights.
    loss: the official loss; None where the file does not tell.
  """

  arguments: edm_arguments.Arguments
  arrays: Mapping[str, np.ndarray]
  kind: str
  loss: Any = None


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is of these networks."""
  return _kind(_network(tree)) in edm_arguments.PRECONDITIONINGS or (
    isinstance(tree, Mapping) and any(_is_stem(name) for name in tree))


def convert(
  tree: Any, config: Any, *, ema: bool = True
) -> base.Converted:
  """Turns a checkpoint into a network, its weights and its objective.

  Args:
    tree: what `container.read` gives.
    config: arguments of the official constructor, within `{'config': ...}` or
      not, which go first; `precond` is its class. Other keys are not read.
    ema: averaged weights, not those of the last step.

  Raises:
    ConfigError: arguments are missing or off.
    CheckpointError: there are no such weights, or some are unknown to the
      network that the arguments describe; all of them are named.
  """
  source = _source(tree, dict(config or {}), ema)
  arguments = source.arguments
  _check_sizes(arguments, source.arrays)
  found = edm_diffusion.preconditioning(arguments, source.loss)
  net = edm_arguments.architecture(arguments, outputs=1 + found.learned_range)
  network = _unet(net)
  shape = net.size, net.size, net.channels
  unused = edm_keys.unused(source.arrays)
  params = _params(net, {
    name: array for name, array in source.arrays.items()
    if name not in unused})
  low, high = found.bounds
  spec = dict(
    type='objectives.Denoising', network=network,
    process=dict(type='processes.EDM', t_min=low, t_max=high),
    target=found.target,
    inputs=dict(
      type='denoising.InputMap', scale=found.scale, noise=found.noise),
    times=found.times, weighting=found.weighting,
    label_dropout=arguments.number('label_dropout'))
  if found.learned_range:
    spec['learned_range'] = True
  info = dict(
    family=_FAMILY, model=arguments['model_type'], precond=arguments.kind,
    container='torch', weights=source.kind, image_shape=shape,
    num_classes=net.labels, augment_dim=net.augment, sigma_min=low,
    sigma_max=high, fp16=bool(arguments['use_fp16']),
    unused=tuple(sorted(unused)))
  return base.Converted(spec=spec, params=params, network=network, info=info)


def state_dict(
  params: Params, config: Mapping[str, Any]
) -> dict[str, np.ndarray]:
  """Returns weights, filters and levels by official name.

  Args:
    params: of our network.
    config: the official arguments; see `edm_official`.

  Raises:
    KeyError: the network is none of theirs.
  """
  arguments = edm_arguments.Arguments(config['precond'], (), config)
  net = edm_arguments.architecture(arguments)
  theirs = {path: name for name, path in edm_keys.paths(net).items()}
  found = edm_diffusion.buffers(arguments) | {
    _INSIDE + name: kernel for name, kernel in edm_keys.constants(net).items()}
  for path, leaf in traverse_util.flatten_dict(params, sep='/').items():
    array = np.asarray(leaf)
    shape = edm_keys.official_shape(path, array.shape)
    turn = functools.partial(edm_keys.turned, net, path)
    (found[_INSIDE + theirs[path]],) = inverse.undone(turn, array, [shape])
  return found


def official(objective: base.Spec) -> dict[str, Any]:
  """Returns nothing: a pickle tells all of the network itself."""
  del objective
  return {}


def _kind(found: Any) -> str:
  """The class of an object, '' for what is none."""
  return getattr(found, 'kind', '')


def _network(tree: Any) -> Any:
  """The network in a file: itself, averaged, or as it was trained."""
  if not isinstance(tree, Mapping):
    return tree
  return tree.get('ema', tree.get('net'))


def _is_stem(name: Any) -> bool:
  return str(name).removeprefix(_INSIDE).startswith('enc.') and str(
    name).endswith(_STEM)


def _source(tree: Any, config: dict[str, Any], ema: bool) -> _Source:
  """Takes arguments and weights out of a file.

  Raises:
    CheckpointError: it has not the weights that are asked for.
  """
  config = config.get('config', config)
  net, loss = _network(tree), None
  kind = 'ema' if not isinstance(tree, Mapping) or 'ema' in tree else 'raw'
  if _kind(net) in edm_arguments.PRECONDITIONINGS:
    arrays = persistent.arrays(net)
    given = net.kind, net.args, {**net.keywords, **config}
    loss = tree.get('loss_fn') if isinstance(tree, Mapping) else None
  else:
    arrays, kind = dict(tree), 'as saved'
    given = '', (), config
  if kind == ('raw' if ema else 'ema'):
    raise errors.CheckpointError(
      f'EDM: the checkpoint has no {"averaged" if ema else "last"} weights; '
      f'load the others with ema={not ema}')
  name, args, keywords = given
  arguments = edm_arguments.Arguments(
    str(config.get('precond', name or 'EDMPrecond')), args, keywords)
  arrays = {
    name.removeprefix(_INSIDE): array for name, array in arrays.items()}
  return _Source(arguments=arguments, arrays=arrays, kind=kind, loss=loss)


def _check_sizes(
  arguments: edm_arguments.Arguments, arrays: Mapping[str, np.ndarray]
) -> None:
  """Refuses numbers that would take for ever: no file has such a network.

  Raises:
    CheckpointError: there are fewer weights than blocks, or than levels.
  """
  blocks = arguments.count('num_blocks') * len(arguments.counts('channel_mult'))
  if blocks > len(arrays):
    raise errors.CheckpointError(
      f'EDM: num_blocks and channel_mult make {blocks} blocks, of '
      f'{len(arrays)} weights')
  levels = len(arrays.get(_LEVELS, ())) - 1
  if 'M' in arguments and levels > 0 and levels != arguments.count('M'):
    raise errors.CheckpointError(
      f'EDM: M is {arguments["M"]}, but the checkpoint has {levels} levels')


def _params(
  net: edm_arguments.Architecture, arrays: Mapping[str, np.ndarray]
) -> Params:
  """Our weights as nested dicts.

  Raises:
    CheckpointError: some are unknown; all of them are named.
  """
  paths = edm_keys.paths(net)
  unknown = sorted(arrays.keys() - paths.keys())
  if unknown:
    raise errors.CheckpointError(
      'EDM: the network that the arguments describe has no '
      f'{", ".join(unknown)}')
  return traverse_util.unflatten_dict({
    paths[name]: np.asarray(
      edm_keys.turned(net, paths[name], array), np.float32)
    for name, array in arrays.items()}, sep='/')


def _unet(net: edm_arguments.Architecture) -> base.Spec:
  """The network."""
  spec = dict(
    type='networks.UNet', channels=net.width,
    stem_channels=net.stem, multipliers=net.multipliers,
    code_width=net.code_width, embedding_width=net.embedding_width,
    blocks_per_level=net.blocks, attention_resolutions=net.attention,
    out_channels=net.out_channels, dropout=net.dropout,
    skip_rescale=not net.adm)
  return spec | (_adm(net) if net.adm else _song(net))


def _adm(net: edm_arguments.Architecture) -> base.Spec:
  """What ADM's network has of its own."""
  part = dict(partial='networks.ResidualBlock', scale_shift=True)
  half, double = (
    part | dict(bare_shortcut=True, resampling=dict(ref=f'networks.{name}'))
    for name in ('average_down', 'nearest_up'))
  spec = dict(
    norm=dict(partial='networks.GroupNorm', epsilon=1e-5),
    encoding=dict(
      partial='networks.Positional', cos_first=True, endpoint=False),
    block=part, down=half, up=double,
    attention=dict(
      partial='networks.AttentionBlock', head_channels=64, fitting=True),
    attention_every_up_block=True, num_classes=net.labels, null_label=False)
  within = dict(
    partial='networks.VectorCondition', augment_dim=net.augment)
  return spec | (dict(within=within) if net.augment else {})


def _song(net: edm_arguments.Architecture) -> base.Spec:
  """What score SDE's networks have of their own."""
  mirrored = net.kernel[::-1]  # theirs is a correlation, on the way down
  half = dict(type='networks.FIRDown', kernel=mirrored)
  double = dict(type='networks.FIRUp', kernel=net.kernel)
  down, up = (
    dict(partial='networks.ResidualBlock', resampling=resampling)
    for resampling in (half, double))
  pyramid = dict(partial='networks.ConvDown', kernel=mirrored)
  spec = dict(down=down, up=up)
  options = dict(
    encoding=(
      net.fourier, dict(partial='networks.Fourier', log=False)),
    code_width=(net.fourier, net.code_width // 2),
    within=(net.labels or net.augment, dict(
      partial='networks.VectorCondition', num_classes=net.labels,
      augment_dim=net.augment)),
    input_skip=(net.input_skip, half),
    input_residual=(net.input_residual, pyramid),
    output_skip=(net.output_skip, double))
  return spec | {name: part for name, (has, part) in options.items() if has}
