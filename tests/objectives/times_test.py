"""Time samplers against their distributions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from difjax import objectives, processes

pytestmark = pytest.mark.usefixtures('x64')
U = np.linspace(0.001, 0.999, 21)
EDM = processes.EDM(t_min=1e-6, t_max=1e6)

EVERY = {
  'uniform': (objectives.UniformTimes, processes.VP()),
  'levels': (objectives.LevelTimes, processes.LinearBetas(levels=8)),
  'log_normal': (objectives.LogNormalTimes, EDM),
  'logit_normal': (objectives.LogitNormalTimes, processes.RectifiedFlow()),
  'importance': (objectives.LikelihoodImportanceTimes, processes.VP()),
}


def test_uniform(process):
  span = process.t_max - process.t_min
  exact = scipy.stats.uniform(process.t_min, span).ppf(U)
  got = objectives.UniformTimes().quantile(process, jnp.asarray(U))
  np.testing.assert_allclose(got, exact, rtol=1e-12)


def test_log_normal():
  # Karras et al. 2022, table 1: ln(sigma) ~ N(-1.2, 1.2^2).
  exact = scipy.stats.lognorm(1.2, scale=np.exp(-1.2)).ppf(U)
  got = objectives.LogNormalTimes().quantile(EDM, jnp.asarray(U))
  np.testing.assert_allclose(got, exact, rtol=1e-9)


def test_log_normal_is_in_sigma_over_alpha():
  times = objectives.LogNormalTimes(mean=0.5, std=0.3)
  vp = processes.VP()
  t = times.quantile(vp, jnp.asarray(U))
  ratio = np.asarray(vp.sigma(t)) / np.asarray(vp.alpha(t))
  exact = scipy.stats.norm(0.5, 0.3).ppf(U)
  np.testing.assert_allclose(np.log(ratio), exact, rtol=1e-8)


def test_logit_normal():
  # Esser et al. 2024, equation 19.
  exact = 1 / (1 + np.exp(-scipy.stats.norm(0.4, 0.8).ppf(U)))
  times = objectives.LogitNormalTimes(mean=0.4, std=0.8)
  got = times.quantile(processes.RectifiedFlow(), jnp.asarray(U))
  np.testing.assert_allclose(got, exact, rtol=1e-9)


def test_importance_is_uniform_in_logsnr(process):
  times = objectives.LikelihoodImportanceTimes()
  logsnr = np.asarray(process.logsnr(times.quantile(process, jnp.asarray(U))))
  ends = np.asarray([process.t_min, process.t_max])
  first, last = np.asarray(process.logsnr(ends))
  np.testing.assert_allclose(logsnr, first + U * (last - first), rtol=1e-8)


@pytest.mark.parametrize(
  'process', [processes.VP(), processes.EDM(), processes.RectifiedFlow()]
)
def test_importance_is_unbiased(process):
  # E_p[w f] over u is the mean of f over t, for any f.
  times = objectives.LikelihoodImportanceTimes()
  f = lambda t: np.exp(-t) + np.sin(3 * t)
  middle = (np.arange(20_000) + 0.5) / 20_000
  t = times.quantile(process, jnp.asarray(middle))
  ours = np.mean(np.asarray(times.importance(process, t)) * f(np.asarray(t)))
  span = process.t_max - process.t_min
  exact = scipy.integrate.quad(f, process.t_min, process.t_max, limit=500)[0]
  assert ours == pytest.approx(exact / span, rel=1e-4)


@pytest.mark.parametrize('name', [n for n in EVERY if n != 'importance'])
def test_others_are_not_divided_out(name):
  kind, process = EVERY[name]
  np.testing.assert_array_equal(
    kind().importance(process, jnp.asarray([0.2, 0.3])), [1.0, 1.0]
  )


def test_levels_are_hit_alike():
  process = processes.LinearBetas(levels=8)
  u = (jnp.arange(80) + 0.5) / 80
  t = objectives.LevelTimes().quantile(process, u)
  levels = np.asarray(process.index(t))
  np.testing.assert_array_equal(np.bincount(levels), np.full(8, 10))
  np.testing.assert_allclose(t, process.time(levels), rtol=1e-6)


@pytest.mark.parametrize('u', [0.0, float(np.nextafter(np.float32(1), 0))])
@pytest.mark.parametrize('name', EVERY)
def test_ends_are_finite_and_inside(name, u):
  kind, process = EVERY[name]
  t = float(kind().quantile(process, jnp.float32(u)))
  assert process.t_min * (1 - 1e-6) <= t <= process.t_max * (1 + 1e-6)


@pytest.mark.parametrize('name', EVERY)
def test_draws_follow_the_quantiles(name):
  # The law of a draw is that of Q(u): compared with Q's own exact samples.
  kind, process = EVERY[name]
  times = kind()
  t, weight = times.draw(process, jax.random.key(0), 2000)
  assert t.shape == weight.shape == (2000,)
  even = times.quantile(process, (jnp.arange(2000) + 0.5) / 2000)
  assert scipy.stats.ks_2samp(t, even, method='asymp').pvalue > 1e-3


@pytest.mark.parametrize('seed', range(5))
def test_stratified_visits_every_stratum_once(seed):
  process = processes.RectifiedFlow(t_min=1e-9, t_max=1.0)
  times = objectives.UniformTimes(stratified=True)
  t, _ = times.draw(process, jax.random.key(seed), 16)
  # u_i = u_0 + i / B mod 1: one in each sixteenth, all at the same place.
  place = np.sort(np.asarray(t)) * 16
  np.testing.assert_array_equal(np.floor(place), np.arange(16))
  np.testing.assert_allclose(place % 1, place[0] % 1, atol=1e-6)


def test_stratified_batches_differ():
  times = objectives.UniformTimes(stratified=True)
  one, two = (
    times.draw(processes.VP(), jax.random.key(seed), 4)[0] for seed in (0, 1)
  )
  assert not np.any(np.asarray(one) == np.asarray(two))


def test_times_of_another_process_are_as_noisy():
  # Log-uniform sigma: VE's uniform times on the EDM process.
  ve = processes.VE(sigma_min=0.02, sigma_max=100.0)
  times = objectives.EquivalentTimes(process=ve)
  exact = 0.02 * 5000 ** (ve.t_min + U * (ve.t_max - ve.t_min))
  got = times.quantile(EDM, jnp.asarray(U))
  np.testing.assert_allclose(got, exact, rtol=1e-10)


def test_importance_of_another_process_is_its_own():
  base = objectives.LikelihoodImportanceTimes()
  times = objectives.EquivalentTimes(process=processes.VP(), times=base)
  u = jnp.asarray(U)
  got = times.importance(EDM, times.quantile(EDM, u))
  exact = base.importance(processes.VP(), base.quantile(processes.VP(), u))
  np.testing.assert_allclose(got, exact, rtol=1e-8)


@pytest.mark.parametrize('name', EVERY)
@pytest.mark.parametrize('parts', [2, 4])
def test_parts_are_those_of_the_quantiles(name, parts):
  kind, process = EVERY[name]
  u = (jnp.arange(8 * parts) + 0.5) / (8 * parts)
  found = kind().part(process, kind().quantile(process, u), parts)
  np.testing.assert_array_equal(found, np.repeat(np.arange(parts), 8))


def test_the_level_at_an_end_belongs_to_what_follows():
  """Four levels, four parts: each is one of them."""
  process = processes.LinearBetas(levels=4)
  t = process.time(jnp.arange(4.0))
  found = objectives.LevelTimes().part(process, t, 4)
  assert found.tolist() == [0, 1, 2, 3]
