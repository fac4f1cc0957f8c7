"""Work directories of imported models, as training leaves them.

A work directory is written beside its place and moved there when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import tempfile
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from difjax import config as configs
from difjax import errors
from difjax.interop import base, imported
from difjax.training import checkpoint, state
from difjax.typing import Params

Spec = dict[str, Any]
Build = Callable[..., Any]
ORIGIN = 'origin.json'  # where the model came from
_AVERAGE = 'main'
_RANGE = (-1, 1)  # of images
_TRAINING: Final = ('optimiser', 'ema')  # parts that make the state


def check_free(workdir: pathlib.Path) -> None:
  """Checks that a work directory may be made.

  Raises:
    ConfigError: there is something in its place.
  """
  if workdir.is_dir() and not any(workdir.iterdir()):
    return
  if workdir.exists():
    raise errors.ConfigError(f'{workdir} is not empty: use another --out')


def complete(found: base.Converted, config: Mapping[str, Any]) -> Spec:
  """Returns the config of a work directory.

  Args:
    found: the model.
    config: of an experiment, which goes first; {} for none. Its objective must
      be able to hold the parameters.
  """
  process = found.spec['process']['type']
  average = 0.999 if process in _EXPLODING else 0.9999
  defaults = {
    'objective': found.spec,
    'sampler': found.sampler or sampler(found.spec['process']),
    'optimiser': {
      'type': 'training.Optimiser',
      'clip_norm': 1.0,
      'rule': {'type': 'optax.scale_by_adam'},
      'schedule': {'type': 'optax.constant_schedule', 'value': 2e-4},
    },
    'ema': {_AVERAGE: {'type': 'training.ConstantEMA', 'rate': average}},
  }
  return {**defaults, **config}


def sampler(process: Mapping[str, Any]) -> Spec:
  """Returns the paper's sampler for a process: 1,000 steps or its levels.

  Source: Song et al. 2021, Score-Based Generative Modeling through SDEs,
  section 4.3 and appendix G; for noise levels 18 steps of EDM's, for other
  processes the adaptive ODE.
  """
  return _SAMPLERS.get(process['type'], _adaptive)(process)


def write(
  workdir: pathlib.Path,
  source: pathlib.Path,
  found: base.Converted,
  config: Mapping[str, Any],
) -> None:
  """Writes a work directory that sampling and training go on from.

  Args:
    workdir: its place: nothing, or an empty folder.
    source: the checkpoint's file, for the record.
    found: what was in it.
    config: of the work directory; see `complete`.

  Raises:
    ConfigError: the config describes no model, or there is no room for it.
    CheckpointError: the parameters do not fit, or the disk is full.
  """
  if 'low_res_shape' in found.info:
    raise errors.ConfigError(
      f'{source} enlarges images, which no work directory has beside its own: '
      'use difjax.interop.load'
    )
  if tuple(found.info.get('data_range', _RANGE)) != _RANGE:
    raise errors.ConfigError(
      f'{source} models images in {list(found.info["data_range"])}, not in '
      f'{list(_RANGE)} as a work directory does: use difjax.interop.load'
    )
  shape = list(found.info['image_shape'])
  card = {
    'shape': shape, 'num_classes': _classes(found),
    'class_names': list(found.info.get('class_names', ())),
    'latents': (
      shape[-1] not in base.COLOURS or bool(found.info.get('latents'))),
  }  # fmt: skip
  origin = {
    'file': source.name, 'sha256': _sha256(source), 'info': found.info
  }
  save(workdir, source, found.params, config, card, origin)


def save(
  workdir: pathlib.Path,
  source: pathlib.Path,
  params: Params,
  config: Mapping[str, Any],
  card: Mapping[str, Any],
  origin: Mapping[str, Any],
  *,
  build: Build = configs.build,
) -> None:
  """Writes a work directory whose parameters and averages are those given.

  Args:
    workdir: its place: nothing, or an empty folder.
    source: where the parameters are from, for errors.
    params: those of the config's objective.
    config: of the work directory.
    card: what sampling has to know of the data.
    origin: where the model came from, for the record.
    build: makes objects of the config's parts, as `config.build` does; one
      that trusts no name where the config is a stranger's.

  Raises:
    ConfigError: the config describes no model, or there is no room for it.
    CheckpointError: the parameters do not fit, or the disk is full.
  """
  check_free(workdir)
  start = _state(source, params, config, card, build)
  workdir.absolute().parent.mkdir(parents=True, exist_ok=True)
  partial = pathlib.Path(
    tempfile.mkdtemp(prefix=f'.{workdir.name}.', dir=workdir.absolute().parent)
  )
  try:
    configs.save(dict(config), partial / 'config.json')
    configs.save(dict(card), partial / 'data.json')
    configs.save(dict(origin), partial / ORIGIN)
    saver = checkpoint.Checkpointer(partial, checkpoint.Checkpoints())
    try:
      saver.save(start, {'step': 0})
    finally:
      saver.close()
    partial.chmod(0o777 & ~_umask())
    partial.replace(workdir)
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise


def _state(
  source: pathlib.Path,
  params: Params,
  config: Mapping[str, Any],
  card: Mapping[str, Any],
  build: Build,
) -> state.TrainState:
  """Makes the state before the first step of fine-tuning.

  Raises:
    CheckpointError: the objective of the config has other parameters.
  """
  objective = build(config['objective'], path='config.objective')
  parts = {key: build(config[key], path=f'config.{key}') for key in _TRAINING}
  images = jax.ShapeDtypeStruct((1, *card['shape']), np.float32)
  batch = {'image': images}
  if card['num_classes']:
    batch['label'] = jax.ShapeDtypeStruct((1,), np.int32)
  wanted = jax.eval_shape(objective.init, jax.random.key(0), batch)
  imported.check(source, wanted, params)
  params = jax.tree.map(jnp.asarray, params)
  return state.TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=parts['optimiser'].transformation().init(params),
    ema={name: jax.tree.map(jnp.copy, params) for name in parts['ema']},
    aux=objective.init_aux(),
    skipped=jnp.zeros((), jnp.int32),
    streak=jnp.zeros((), jnp.int32),
  )


def _classes(found: base.Converted) -> int:
  """Counts the classes of a conditional model or of a classifier."""
  inside = found.spec['network'].get('num_classes', 0)
  return found.info.get('num_classes', inside)


def _sha256(file: pathlib.Path) -> str:
  with file.open('rb') as stream:
    return hashlib.file_digest(stream, 'sha256').hexdigest()


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask


def _fixed(solver: Spec, grid: Spec) -> Spec:
  return {'type': 'sampling.FixedGrid', 'solver': solver, 'grid': grid}


def _diffusion(_: Mapping[str, Any]) -> Spec:
  grid = {'type': 'sampling.Uniform', 'steps': 1_000, 't_min': 1e-3}
  return _fixed({'type': 'sampling.EulerMaruyama'}, grid)


def _ancestral(process: Mapping[str, Any]) -> Spec:
  grid = {'type': 'sampling.Levels', 'steps': process['levels']}
  return _fixed({'type': 'sampling.DDIM', 'eta': 1.0, 'spread': 1.0}, grid)


def _corrected(grid: Spec) -> Spec:
  return {
    'type': 'sampling.CorrectedGrid',
    'predictor': {'type': 'sampling.ReverseDiffusion'},
    'corrector': {'type': 'sampling.Langevin', 'snr': 0.16},
    'grid': grid,
  }


def _exploding(_: Mapping[str, Any]) -> Spec:
  return _corrected(
    {'type': 'sampling.Uniform', 'steps': 1_000, 't_min': 1e-5}
  )


def _ladder(process: Mapping[str, Any]) -> Spec:
  return _corrected({'type': 'sampling.Levels', 'steps': process['levels']})


def _heun(_: Mapping[str, Any]) -> Spec:
  grid = {'type': 'sampling.Karras', 'steps': 18}
  return _fixed({'type': 'sampling.Heun'}, grid)


def _adaptive(_: Mapping[str, Any]) -> Spec:
  return {'type': 'sampling.AdaptiveODE', 'rtol': 1e-4, 'atol': 1e-4}


_EXPLODING: Final = frozenset({'processes.VE', 'processes.Ladder'})
_SAMPLERS: Final = types.MappingProxyType({
  'processes.CosineBetas': _ancestral,
  'processes.EDM': _heun,
  'processes.Ladder': _ladder,
  'processes.LinearBetas': _ancestral,
  'processes.SubVP': _diffusion,
  'processes.VE': _exploding,
  'processes.VP': _diffusion,
})
