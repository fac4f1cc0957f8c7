"""SiT against the official outputs: the network, its samples, its losses."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from difjax import config as configs
from difjax import denoising, errors, interop, processes, sampling
from difjax.interop import container, dit, imported, sit
from difjax.networks import embeddings
from difjax.objectives import denoising as objectives

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
SHARED = pathlib.Path(__file__).parents[2].parent / 'shared/golden/sit'
TINY = GOLDEN / 'dit' / 'DiT-tiny.pt'  # SiT's files have the same layout
HEADS = {'num_heads': 4}
PATHS = {'linear': 'Linear', 'gvp': 'GVP', 'vp': 'VP'}
LOSSES = [
  (path, prediction, weight) for path in PATHS
  for prediction in ('velocity', 'noise', 'score')
  for weight in (None, 'velocity', 'likelihood')
  if prediction != 'velocity' or weight is None
]  # fmt: skip


def channels_last(array):
  return np.moveaxis(array, -3, -1)


@functools.cache
def official():
  if not SHARED.is_dir():
    pytest.skip(f'{SHARED} is not there: no official outputs to compare with')
  io = dict(np.load(SHARED / 'io.npz'))
  return {name: channels_last(array) if array.ndim > 3 else array
          for name, array in io.items()}


@functools.cache
def loaded():
  """The model, in float64."""
  found = interop.load(SHARED / 'SiT-tiny.pt', config=HEADS)
  params = jax.tree.map(lambda a: np.asarray(a, np.float64), found.params)
  return dataclasses.replace(found, params=params)


def close(found, expected, rounding=1e-6):
  scale = abs(expected).max()
  np.testing.assert_allclose(found, expected, rtol=0, atol=rounding * scale)


def test_the_output_is_the_first_half_of_the_head():
  """With the weights of a DiT it is what that would give."""
  with np.load(GOLDEN / 'dit' / 'outputs.npz') as io:
    x, t, y, out = (io[name] for name in ('x', 't', 'y', 'out'))
  found = interop.load(TINY, 'sit', HEADS)
  assert found.info['family'] == 'sit'
  assert (found.network.out_channels, found.network.spare_channels) == (4, 4)
  made = jax.jit(found.network.apply)(
    {'params': found.params}, channels_last(x), t.astype(np.float32),
    {'label': y})
  np.testing.assert_allclose(
    made, channels_last(out)[..., :4], rtol=0, atol=6e-5)


def test_which_of_the_two_families(tmp_path):
  """Released files tell by their names alone, and are DiT's without one."""
  for name, family in (('SiT-XL-2.pt', 'sit'), ('model.pt', 'dit')):
    file = tmp_path / name
    shutil.copy(TINY, file)
    assert imported.convert(file, config=HEADS).info['family'] == family
  arrays = container.read(TINY)
  run = {'model': arrays, 'ema': arrays, 'args': {'model': 'SiT-B/2'}}
  assert sit.recognises(run) and not dit.recognises(run)
  run['args'] = {'model': 'DiT-B/2'}
  assert dit.recognises(run)


def test_the_official_output():
  io = official()
  single = interop.load(SHARED / 'SiT-tiny.pt', config=HEADS)
  assert single.info['family'] == 'sit'  # by the file's name
  run = jax.jit(single.network.apply)
  out = run({'params': single.params}, io['x'], io['t'], {'label': io['y']})
  np.testing.assert_allclose(out, io['out__f64'], rtol=0, atol=1.4e-5)
  with jax.enable_x64(True):
    found, x = loaded(), io['x'].astype(np.float64)
    run = functools.partial(jax.jit(found.network.apply),
                            {'params': found.params})
    t = io['t'].astype(np.float64)
    close(run(x, t, {'label': io['y']}), io['out__f64'])
    code = embeddings.Positional(256, cos_first=True, endpoint=False)(t)
    close(embeddings.NoiseMLP(64).apply(
      {'params': found.params['time']}, code), io['t_emb__f64'])
    x = io['cfg_x'].astype(np.float64)
    x, t = np.concatenate([x[:2], x[:2]]), io['cfg_t'].astype(np.float64)
    full, null = jnp.split(run(x, t, {'label': io['cfg_y']}), 2)
    guided = (null + io['cfg_scale'] * (full - null))[..., :3]
    rest = [jnp.concatenate([guided, half[..., 3:]], -1)
            for half in (full, null)]
    close(jnp.concatenate(rest), io['cfg_out__f64'])


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize(('name', 'solver', 'times'), [
  ('euler', sampling.Euler(), 9), ('heun2', sampling.Heun(), 6)])
def test_official_samples(name, solver, times):
  """Guided in three channels: the first half of the official batch."""
  io, found = official(), loaded()
  process = found.objective.process
  denoiser = denoising.classifier_free(
    lambda cond: found.objective.denoiser(found.params, cond), process,
    {'label': jnp.asarray(io['cfg_y'][:2])}, float(io['cfg_scale']),
    rule=denoising.Extrapolated(channels=3))
  x = jnp.asarray(io['cfg_x'][:2], jnp.float64)
  grid, noise = np.linspace(1, 0, times), sampling.Recorded(np.zeros((9, 1)))
  states = jax.jit(lambda x: sampling.trajectory(
    denoiser, process, solver, x, grid, noise))(x)
  close(states, io[f'sample_{name}_traj__f64'][:, :2])


class Closed(nn.Module):
  """The official closed-form model of the losses, in our time."""

  process: processes.Process
  kind: str

  def __call__(self, x, noise, cond=None, *, train=False):
    c = jnp.moveaxis(jnp.asarray(losses()['c'], x.dtype), 0, -1)
    u = noise[:, None, None, None]
    if self.kind == 'velocity':
      return -0.3 * x + 0.5 * jnp.sin(2 * x + 3 * u) + (1 - u) * c
    alpha, sigma = self.process.alpha(1 - u), self.process.sigma(1 - u)
    q = (x - alpha * c) / (0.25 * alpha**2 + sigma**2) + 0.1 * jnp.sin(2 * x)
    return sigma * q if self.kind == 'noise' else -q


@functools.cache
def losses():
  with np.load(GOLDEN / 'sit_losses.npz') as file:
    return dict(file)


def objective(path, prediction, weight):
  """What an import with these arguments trains."""
  arguments = {'path_type': PATHS[path], 'prediction': prediction,
               'loss_weight': weight, **HEADS}
  found = sit.convert(container.read(TINY), arguments)
  return configs.build(found.spec)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize(('path', 'prediction', 'weight'), LOSSES)
def test_official_losses(path, prediction, weight):
  io, ours = losses(), objective(path, prediction, weight)
  x1, x0 = (np.float64(channels_last(io[f'loss_{name}']))
            for name in ('x1', 'x0'))
  # Official times: between the ends, from noise to data.
  eps = {'linear': 1e-3, 'gvp': 1e-3, 'vp': 1e-5}[path]
  whole = prediction == 'velocity' and path != 'vp'
  low = 0 if whole or path == 'vp' else eps
  high = 1 if whole else 1 - eps
  if not whole:
    np.testing.assert_allclose(
      [ours.process.t_min, ours.process.t_max], [1 - high, 1 - low])
  t = 1 - (io['loss_u'].astype(np.float64) * (high - low) + low)
  x = ours.process.perturb(x1, x0, t)
  y = Closed(ours.process, prediction).apply({}, x, *ours.inputs(
    ours.process, t)[1:])
  attempt = objectives.Attempt(x1, x, x0, t, jnp.ones_like(t), y, None)
  np.testing.assert_allclose(
    ours.errors(attempt), io[f'{path}_loss_{prediction}_{weight}'], rtol=2e-6)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('path', PATHS)
def test_official_plans(path):
  io, ours = losses(), objective(path, 'velocity', None)
  x1, x0 = (np.float64(channels_last(io[name])) for name in ('x1', 'x0'))
  t = 1 - io['t'].astype(np.float64)
  close(ours.process.perturb(x1, x0, t), channels_last(io[f'{path}_plan_xt']))
  target = denoising.targets.value(ours.target, ours.process, x1, x0, t)
  close(target, channels_last(io[f'{path}_plan_ut']))


def test_flags_of_a_training_run():
  args = {'model': 'SiT-XL/2', 'path_type': 'GVP', 'prediction': 'noise',
          'loss_weight': 'likelihood', 'train_eps': 2e-3}
  arrays = container.read(TINY)
  tree = {'model': arrays, 'ema': arrays, 'opt': {}, 'args': args}
  spec = sit.convert(tree, HEADS).spec
  assert spec['process'] == {
    'type': 'processes.Cosine', 't_min': 2e-3, 't_max': 0.998}
  assert spec['target'] == {'type': 'denoising.Noise'}
  assert spec['weighting'] == {
    'type': 'objectives.LikelihoodWeighting', 'factor': 0.5}
  for name in ('path_type', 'prediction', 'loss_weight'):
    with pytest.raises(errors.ConfigError, match=f"{name} is 'other' in the"):
      sit.convert(tree, {**HEADS, name: 'other'})
