"""The hybrid loss against the official code's numbers."""

from __future__ import annotations

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, objectives, processes
from difjax.objectives import denoising as attempts
from difjax.objectives import hybrid

FILE = pathlib.Path(__file__).parents[1] / 'golden' / 'adm' / 'losses.npz'
SCHEDULES = {
  'linear': processes.LinearBetas(levels=100, beta_min=1e-3, beta_max=0.2),
  'cosine': processes.CosineBetas(levels=100),
}
LOSSES = {
  'mse': dict(bound_weight=1 / 100),
  'rescaled_mse': dict(),
  'rescaled_kl': dict(simple_weight=0.0, bound_weight=1.0, detached=False),
}
MEANS = {'epsilon': denoising.Noise(), 'start_x': denoising.Data()}
VARIANCES = {
  'learned_range': objectives.Learned(), 'fixed_large': objectives.Large(),
  'fixed_small': objectives.Small(),
}


class Given(nn.Module):
  """Puts out y + shift x, and v beside it."""

  @nn.compact
  def __call__(self, x, noise, cond=None, *, train=False):
    shift = self.param('shift', nn.initializers.ones, ())
    v = self.param('v', nn.initializers.zeros, ())
    return jnp.concatenate([shift * x, jnp.full_like(x, jnp.tanh(v))], -1)


def attempt(process, learned=True):
  io = {
    name: np.moveaxis(array, 1, -1) if array.ndim == 4 else array
    for name, array in np.load(FILE).items()}
  t = jnp.asarray((io['t'] + 1) / process.levels)
  return attempts.Attempt(
    io['x0'], process.perturb(io['x0'], io['eps'], t), io['eps'], t,
    jnp.ones_like(t), jnp.asarray(io['y']),
    (io['v'] + 1) / 2 if learned else None)


def official():
  """(schedule, loss, variance, mean) of every loss on record."""
  for schedule in SCHEDULES:
    for mean in MEANS:
      for loss in LOSSES:
        yield schedule, loss, 'learned_range', mean
      for variance in ('fixed_large', 'fixed_small'):
        yield schedule, 'rescaled_kl', variance, mean


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize(
  ('schedule', 'loss', 'variance', 'mean'), [*official()])
def test_losses_are_the_official_ones(schedule, loss, variance, mean):
  learned = variance == 'learned_range'
  objective = objectives.Hybrid(
    process=SCHEDULES[schedule], target=MEANS[mean], network=Given(),
    variance=VARIANCES[variance], learned_range=learned, **LOSSES[loss])
  found = attempt(objective.process, learned)
  total = (
    objective.simple_weight * objective.errors(found)
    + objective.bound_weight * objective.process.levels * objective.bits(found))
  expected = np.load(FILE)[f'{schedule}_{loss}_{variance}_{mean}']
  first = np.load(FILE)['t'] == 0
  np.testing.assert_allclose(total[~first], expected[~first], rtol=1e-9)
  # At level 0 the official code approximates the normal's distribution by a
  # tanh, and cuts probabilities at 1e-12: far less likely are the images of
  # what was drawn as noise and taken for data.
  if mean == 'epsilon':
    np.testing.assert_allclose(total[first], expected[first], rtol=1e-3)
  else:
    assert np.all(total[first] >= expected[first])


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('detached', [True, False])
def test_a_detached_bound_trains_the_variance_alone(detached):
  objective = objectives.Hybrid(
    process=SCHEDULES['cosine'], target=denoising.Noise(), network=Given(),
    detached=detached)
  found = attempt(objective.process)
  bits = lambda y, spread: objective.bits(
    found._replace(y=y, spread=spread)).sum()
  of_mean, of_spread = jax.grad(bits, (0, 1))(found.y, found.spread)
  assert np.all(np.asarray(of_spread) != 0)
  assert np.any(np.asarray(of_mean) != 0) != detached


def test_the_loss_is_the_weighted_sum_of_its_parts():
  objective = objectives.Hybrid(
    process=SCHEDULES['linear'], target=denoising.Noise(), network=Given(),
    times=objectives.LevelTimes(), simple_weight=0.5, bound_weight=0.25)
  batch = {'image': jnp.zeros((4, 2, 2, 1))}
  params = objective.init(jax.random.key(0), batch)
  (total, (metrics, _)), slopes = objective.gradients(
    params, (), (), batch, jax.random.key(1), step=0, ema={})
  np.testing.assert_allclose(
    total, 0.5 * metrics['simple'] + 0.25 * metrics['bits_per_dim'], rtol=1e-6)
  assert slopes['v'] != 0
  # The same draws, and the same error, as without the bound.
  plain = objectives.Denoising(
    process=objective.process, target=objective.target, network=Given(),
    times=objective.times, learned_range=True)
  loss, _ = plain.loss(
    params, (), (), batch, jax.random.key(1), step=0, ema={})
  np.testing.assert_allclose(metrics['simple'], loss, rtol=1e-6)
  spread = plain.denoiser(params)(batch['image'], jnp.asarray(0.5)).spread
  np.testing.assert_array_equal(spread, 0.5)


IMPORTANT = objectives.ImportanceHybrid(
  process=processes.LinearBetas(levels=4, beta_max=0.5),
  target=denoising.Noise(), network=Given(), history=2, uniform=0.1)


def test_levels_are_drawn_by_the_root_of_their_squared_losses():
  losses = IMPORTANT.init_aux()
  np.testing.assert_allclose(IMPORTANT.probabilities(losses), 0.25)
  values = jnp.array([3.0, 4.0, 9.0, 1.0, 1.0, 2.0, 2.0])
  losses = hybrid.keep(losses, jnp.array([0, 0, 1, 2, 2, 3, 3]), values)
  # Level 1 has a single loss yet.
  np.testing.assert_allclose(IMPORTANT.probabilities(losses), 0.25)
  losses = hybrid.keep(losses, jnp.array([1, 1]), jnp.array([0.0, 6.0]))
  root = np.sqrt([12.5, 18.0, 1.0, 4.0])  # of the last two at each
  np.testing.assert_allclose(
    IMPORTANT.probabilities(losses), 0.9 * root / root.sum() + 0.025, rtol=1e-6)


def test_what_is_drawn_more_often_counts_for_less():
  p = jnp.array([0.1, 0.2, 0.3, 0.4])
  t, factor = hybrid._Drawn(p=p).draw(
    IMPORTANT.process, jax.random.key(0), 4000)
  i = IMPORTANT.process.index(t)
  np.testing.assert_allclose(factor, 0.25 / p[i], rtol=1e-6)
  # Hence the mean of anything is that over all levels alike.
  np.testing.assert_allclose(jnp.bincount(i, factor) / 4000, 0.25, atol=0.03)


def test_losses_of_a_batch_are_kept():
  batch = {'image': jnp.zeros((5, 2, 2, 1))}
  params, aux = IMPORTANT.init(jax.random.key(0), batch), IMPORTANT.init_aux()
  loss = jax.jit(IMPORTANT.loss)
  total, (_, kept) = loss(
    params, aux, (), batch, jax.random.key(1), step=0, ema={})
  assert kept.counts.sum() == 5
  held = np.minimum(kept.counts, 2).sum()
  assert np.count_nonzero(kept.values) == held
  assert np.isfinite(total)
