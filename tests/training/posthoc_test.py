"""Averages made afterwards against sums over all parameters that there were.

After n steps an average of exponent g weighs those of step s by

  (s^(g + 1) - (s - 1)^(g + 1)) / n^(g + 1),

the product of the rates (1 - 1 / s)^(g + 1) of Karras et al. 2024, telescoped.
"""

from __future__ import annotations

import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import errors, training
from difjax.training import ema, posthoc
from tests import tiny

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'edm2' / 'io.npz'
STEPS, EVERY = 400, 80
WIDTHS = {'narrow': 0.05, 'wide': 0.10}
RULES = {name: training.PowerFunctionEMA(width=w)
         for name, w in WIDTHS.items()}  # fmt: skip


def test_coefficients_are_the_official_ones():
  with np.load(GOLDEN) as arrays:
    exponents = [ema.exponent(width) for width in arrays['phema_in_std']]
    for column, (step, width) in enumerate(zip(
      arrays['phema_out_ofs'], arrays['phema_out_std'], strict=True
    )):  # fmt: skip
      found = posthoc.coefficients(
        arrays['phema_in_ofs'], exponents, step, ema.exponent(width)
      )
      np.testing.assert_allclose(
        found, arrays['phema_coefs'][:, column], rtol=0, atol=1e-9
      )


def test_an_average_that_was_kept_is_itself():
  exponents = [ema.exponent(w) for w in (0.05, 0.05, 0.10, 0.10)]
  found = posthoc.coefficients([50, 90, 50, 90], exponents, 90, exponents[3])
  np.testing.assert_allclose(found, [0, 0, 0, 1], atol=1e-9)


def test_hundreds_of_snapshots_are_no_trouble():
  """Their inner products are singular to rounding; the fit must not be."""
  steps = np.tile(np.arange(1, 257) * 4096.0, 2)
  exponents = np.repeat([ema.exponent(0.05), ema.exponent(0.10)], 256)
  wanted = ema.exponent(0.075)
  x = posthoc.coefficients(steps, exponents, steps[-1], wanted)
  at = np.linspace(0, 1, 4_001)[1:] * steps[-1]
  profile = lambda t, g: np.where(
    at <= t, np.exp(g * np.log(np.minimum(at / t, 1))) * (g + 1) / t, 0
  )
  sum_ = sum(c * profile(t, g) for c, t, g in zip(
    x, steps, exponents, strict=True))  # fmt: skip
  off = np.abs(sum_ - profile(steps[-1], wanted)).mean() * steps[-1]
  assert off < 1e-3
  assert np.abs(x).max() < 100


def average(walk, width):
  """Returns the average of parameters [n, d] by its closed form."""
  powers = np.linspace(0, 1, len(walk) + 1) ** (ema.exponent(width) + 1)
  return np.diff(powers) @ walk


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A random walk of parameters, and snapshots of two averages of it."""
  folder = tmp_path_factory.mktemp('run')
  walk = np.cumsum(np.random.default_rng(0).normal(size=(STEPS, 50)), axis=0)
  hook = training.Snapshots(every=EVERY, averages=('narrow', 'wide'))
  for step in range(EVERY, STEPS + 1, EVERY):
    kept = {name: average(walk[:step], w) for name, w in WIDTHS.items()}
    hook(_told(folder), step, _state(kept))
  return folder, walk


def _told(folder):
  return training.Run(
    objective=tiny.Mean(), pipeline=None, workdir=folder,
    mesh=training.Mesh().build(jax.devices()[:1]), writers=(),
  )  # fmt: skip


def _state(averages):
  zero = jnp.zeros((), jnp.int32)
  kept = {name: {'w': jnp.float32(averages[name])} for name in RULES}
  return training.TrainState(
    step=zero, params={}, opt_state=(), aux=(), skipped=zero, streak=zero,
    ema=kept,
  )  # fmt: skip


def test_the_closed_form_is_what_training_keeps(run):
  _, walk = run
  found = jnp.zeros(50)
  move = jax.jit(functools.partial(ema.update, RULES['wide']))
  for step, params in enumerate(walk[:100]):
    found = move(found, jnp.asarray(params, jnp.float32), step)
  np.testing.assert_allclose(
    found, average(walk[:100], WIDTHS['wide']), rtol=1e-4, atol=1e-4
  )


LIKE = {'w': jnp.zeros(50)}


@pytest.mark.parametrize('width', [0.07, 0.09, 0.12])
def test_an_average_that_was_not_kept_is_met(run, width):
  """Within 5 % of what the two kept averages lie apart, of five snapshots."""
  folder, walk = run
  found, step = posthoc.reconstruct(folder, RULES, LIKE, width)
  assert step == STEPS
  assert found['w'].dtype == np.float32
  narrow, wide = (average(walk, w) for w in WIDTHS.values())
  apart = np.abs(narrow - wide).mean()
  assert np.abs(found['w'] - average(walk, width)).mean() < 0.05 * apart


def test_an_earlier_step_knows_nothing_of_later_ones(run):
  folder, walk = run
  found, step = posthoc.reconstruct(folder, RULES, LIKE, 0.05, step=240)
  assert step == 240
  np.testing.assert_allclose(
    found['w'], average(walk[:240], 0.05), rtol=1e-5, atol=1e-5
  )


def test_snapshots_are_kept_for_good_and_hold_parameters_alone(run):
  folder = run[0] / 'snapshots'
  steps = {int(p.name) for p in folder.iterdir() if p.name.isdigit()}
  assert steps == {*range(EVERY, STEPS + 1, EVERY)}
  items = {p.name for p in (folder / str(EVERY)).iterdir() if p.is_dir()}
  assert {'narrow', 'wide'} <= items
  assert not items & {'params', 'rest'}


def test_a_run_that_comes_by_again_leaves_a_snapshot(run):
  """Steps after a restart are those before it: there is nothing to write."""
  folder = run[0]
  hook = training.Snapshots(every=EVERY)
  before, _ = posthoc.reconstruct(folder, RULES, LIKE, 0.05, step=EVERY)
  hook(_told(folder), EVERY, _state({name: jnp.ones(50) for name in RULES}))
  after, _ = posthoc.reconstruct(folder, RULES, LIKE, 0.05, step=EVERY)
  np.testing.assert_array_equal(before['w'], after['w'])


@pytest.mark.parametrize(
  ('rules', 'width', 'step', 'message'),
  [
    ({'main': training.ConstantEMA()}, 0.05, None, 'no snapshots of power'),
    (RULES, 0.5, None, r'between 0 and 0\.28'),
    (RULES, 0.05, 10, r'steps \[80, 160.*none of step 10'),
    (RULES, 0.05, 500, r'none of step 500'),
  ],
)
def test_what_cannot_be_made(run, rules, width, step, message):
  with pytest.raises(errors.ConfigError, match=message):
    posthoc.reconstruct(run[0], rules, LIKE, width, step)


def test_a_run_without_snapshots(tmp_path):
  with pytest.raises(errors.ConfigError, match='no snapshots'):
    posthoc.reconstruct(tmp_path, RULES, LIKE, 0.05)


def test_a_damaged_snapshot_is_not_passed_over(run, tmp_path):
  folder = tmp_path / 'copy'
  shutil.copytree(run[0], folder)
  part = next(p for p in (folder / 'snapshots' / '80').rglob('*')
              if p.is_file() and 'narrow' in p.parts and p.stat().st_size > 100
              and 'manifest' not in p.name)  # fmt: skip
  part.write_bytes(part.read_bytes()[:-1] + b'x')
  with pytest.raises(errors.CheckpointError, match='has changed'):
    posthoc.reconstruct(folder, RULES, LIKE, 0.07)


def test_an_average_that_is_not_kept(tmp_path):
  with pytest.raises(errors.ConfigError, match=r"\['thin'\], but the averages"):
    training.Snapshots(every=1, averages=('thin',))(
      _told(tmp_path), 1, _state({name: jnp.ones(50) for name in RULES})
    )
