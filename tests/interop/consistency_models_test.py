"""Consistency models against the official code: scalings and weights."""

from __future__ import annotations

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import config as configs
from difjax import denoising, errors
from difjax.denoising import denoiser as denoisers
from difjax.interop import consistency_models, container

TESTS = pathlib.Path(__file__).parents[1]
KEPT = TESTS / 'golden' / 'adm'
SHARED = TESTS.parents[1] / 'shared' / 'golden' / 'consistency_samplers'
MODES = {
  0: {}, 1: {'training_mode': 'consistency_distillation'},
}


def converted(**more):
  config = json.loads((KEPT / 'cm.json').read_text())['config']
  return consistency_models.convert(
    container.read(KEPT / 'cm.pt'), config | more)


def objective(**more):
  return configs.build(converted(**more).spec)


@pytest.fixture(scope='module')
def recorded():
  if not SHARED.is_dir():
    pytest.skip(f'{SHARED} is not there: no official outputs to compare with')
  return np.load(SHARED / 'io.npz')


def close(found, recorded, name):
  """Float32 by the rounding of the official code, float64 to 1e-6."""
  single, double = recorded[name], recorded[f'{name}__f64']
  found, bound = np.asarray(found), abs(double).max()
  if found.dtype == np.float64:
    np.testing.assert_allclose(found, double, rtol=0, atol=1e-6 * bound)
  else:
    atol = 10 * abs(single - double).max() + 2e-6 * bound
    np.testing.assert_allclose(found, single, rtol=0, atol=atol)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('distill', MODES)
def test_scalings_are_the_official_ones(recorded, distill, dtype):
  model = objective(**MODES[distill])
  seen = {}

  def network(x, t):  # that of the record: F = 0.5 sin(2x) + 0.1 cos(t / 100)
    seen.update(x=x, t=t)
    return 0.5 * jnp.sin(2 * x) + 0.1 * jnp.cos(t / 100)[:, None, None, None]

  def answer(x, sigma, y):  # x_0 is linear in x and in the output
    return denoisers.of_network(
      lambda *_: jnp.full_like(x, y), model.process, model.target,
      model.inputs)(x, sigma).x0

  with jax.enable_x64(dtype == np.float64):
    sigma = jnp.asarray(recorded['sigma'], dtype)
    x = jnp.asarray(np.repeat(recorded['x4'][:1], 6, axis=0), dtype)
    found = denoisers.of_network(
      network, model.process, model.target, model.inputs)(x, sigma)
    close(found.x0, recorded, f'denoise_distill{distill}')
    close(seen['x'], recorded, f'model_x_distill{distill}')
    close(seen['t'], recorded, f'model_t_distill{distill}')
    zero, one = jnp.zeros((6, 1), dtype), jnp.ones((6, 1), dtype)
    c_in, _ = model.inputs(model.process, sigma)
    scalings = [
      answer(one, sigma, 0.0)[:, 0], answer(zero, sigma, 1.0)[:, 0], c_in]
    close(jnp.stack(scalings), recorded, f'scalings_distill{distill}')


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize(('schedule', 'formula'), [
  ('karras', lambda snr: snr + 4),
  ('snr', lambda snr: snr),
  ('snr+1', lambda snr: snr + 1),
  ('truncated-snr', lambda snr: np.maximum(snr, 1)),
  ('uniform', np.ones_like),
])
def test_weights_are_those_on_the_data(schedule, formula):
  model = objective(weight_schedule=schedule)
  sigma = np.geomspace(0.002, 80, 7)
  weight = model.weighting(model.process, denoising.Data(), sigma)
  np.testing.assert_allclose(weight, formula(sigma**-2.0), rtol=1e-9)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('schedule', ['karras', 'snr'])
def test_weights_are_the_official_ones(recorded, schedule):
  model, sigma = objective(weight_schedule=schedule), recorded['sigma']
  weight = model.weighting(
    model.process, denoising.Data(), sigma.astype(np.float64))
  np.testing.assert_allclose(
    weight, recorded[f'weightings_{schedule}__f64'], rtol=1e-6)


def test_arguments_reach_the_process():
  model = objective(
    distillation=True, sigma_min=0.01, sigma_max=50.0, sigma_data=1.0)
  assert model.target == denoising.Consistency(data_std=1.0, sigma_min=0.01)
  assert (model.process.t_min, model.process.t_max) == (0.01, 50.0)
  assert model.inputs.scale == denoising.UnitVariance(data_std=1.0)
  assert objective(training_mode='progdist').target == (
    denoising.Preconditioned())
  assert converted(distillation=True).info['model'] == 'consistency'
  with pytest.raises(errors.ConfigError, match="training_mode is 'other'"):
    converted(training_mode='other')
  with pytest.raises(errors.ConfigError, match="weight_schedule is 'other'"):
    converted(weight_schedule='other')


def test_only_networks_with_their_attention_are_taken():
  tree = container.read(KEPT / 'cm.pt')
  assert consistency_models.recognises(tree)
  assert not consistency_models.recognises(container.read(KEPT / 'unet.pt'))
  assert not consistency_models.recognises(None)
