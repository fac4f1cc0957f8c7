"""Checkpoints of DiT (Peebles and Xie, 2212.09748), in the space of latents.

The network's time input is the official index i of 1,000 levels, its x the
latents: of Stable Diffusion's first autoencoder, a sample times 0.18215. Its
output is the noise, and beside it v in [-1, 1], the learned variance's place
between its bounds. Our process has the level i at t = (i + 1) / 1,000, so that
fewer steps are a grid over its levels (`sampling.Levels`), at which the betas
of the official respacing are those of the process between two times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from difjax import config as configs
from difjax.interop import base, dit_layout
from difjax.typing import Params

_LEVELS = 1_000
_DROPOUT = 0.1  # with which a network has a row for no label
_OTHER = 'SiT'  # a family of the same layout


def recognises(tree: Any) -> bool:
  """Says whether a checkpoint is one of DiT.

  Released files of SiT look the same: name the family, or call the file so.
  """
  return dit_layout.recognises(tree) and not dit_layout.model(tree).startswith(
    _OTHER)


def convert(
  tree: Mapping[str, Any], config: Any, *, ema: bool = True
) -> base.Converted:
  """Turns a checkpoint into a network, its weights and its objective.

  Args:
    tree: what `container.read` gives.
    config: arguments of the official `DiT`, within `{'config': ...}` or not;
      all but `num_heads` are told by the file, and are checked.
    ema: averaged weights, not those of the last step.

  Raises:
    CheckpointError: weights are missing, unknown or of another network.
    ConfigError: `num_heads` is not known, or an argument is not the file's.
  """
  found = dit_layout.read(tree, config, ema=ema)
  network, shape = dit_layout.network(found)
  learned = network['out_channels'] > shape[-1]
  loss = dict(type='objectives.Denoising')
  if learned:  # ADM's: of the bound one term at random, unscaled
    loss = dict(type='objectives.Hybrid', bound_weight=1 / _LEVELS)
  spec = dict(
    network=network,
    process=dict(type='processes.LinearBetas', levels=_LEVELS),
    target=dict(type='denoising.Noise'),
    inputs=dict(type='denoising.InputMap', noise=dict(
      type='denoising.Linear', factor=float(_LEVELS), offset=-1.0)),
    times=dict(type='objectives.LevelTimes', stratified=False),
    weighting=dict(type='objectives.UniformWeighting'),
    label_dropout=dit_layout.label_dropout(found), **loss)
  return base.Converted(
    spec=spec, network=network,
    params=dit_layout.params(found, network['depth']),
    info=dict(
      family='dit', weights=found.kind, learned_range=learned,
      **dit_layout.facts(network, shape)))


def official(objective: base.Spec) -> dict[str, Any]:
  """Returns what an objective of ours tells that no weight does."""
  return dict(num_heads=objective['network']['heads'])


def state_dict(
  params: Params, objective: base.Spec, shape: tuple[int, int, int]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns the weights by official name, and the official arguments.

  Args:
    params: of our network.
    objective: its specification.
    shape: (H, W, C) of x.

  Raises:
    KeyError: the network is none of DiT's.
  """
  net = configs.build(objective['network'], path='objective.network')
  rows = len(params['label']['table']['embedding'])
  return dit_layout.state_dict(params, net.patch, shape), dict(
    input_size=shape[0], patch_size=net.patch[0], in_channels=shape[-1],
    hidden_size=net.width, depth=net.depth, num_heads=net.heads,
    mlp_ratio=net.mlp_ratio, num_classes=net.num_classes,
    learn_sigma=(
      len(params['patch_out']['bias']) == 2 * shape[-1] * math.prod(net.patch)),
    class_dropout_prob=(
      objective.get('label_dropout') or _DROPOUT
      if rows > net.num_classes else 0.0))
