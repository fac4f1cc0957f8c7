"""Langevin's step by hand, what it leaves alone, and predictor-correctors.

The official code's trajectories are in tests/golden/score_sde_samplers: 24
steps on Gaussian data with recorded draws, batch-mean norms, 2 corrections.
"""

from __future__ import annotations

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes, sampling
from difjax.sampling.samplers import counted
from tests import analytic
from tests.sampling import affine

pytestmark = pytest.mark.usefixtures('x64')
EDM = processes.EDM()
DATA = analytic.Gaussian(mean=0.3, std=0.5)
LEVELS = 24
OFFICIAL = np.load(
  pathlib.Path(__file__).parents[1]
  / 'golden' / 'score_sde_samplers' / 'trajectories.npz'
)  # fmt: skip
PREDICTORS = {
  'euler_maruyama': sampling.EulerMaruyama(),
  'reverse_diffusion': sampling.ReverseDiffusion(),
  'none': sampling.Idle(),
}
CORRECTORS = {
  'langevin': sampling.Langevin(snr=0.16, steps=2, coupled=True),
  'ald': sampling.AnnealedLangevin(snr=0.16, steps=2),
  'none': sampling.Idle(),
}
FLOW = sampling.ReverseDiffusion(probability_flow=True)
LINEAR = processes.LinearBetas(
  levels=LEVELS, beta_min=0.1 / LEVELS, beta_max=20 / LEVELS
)
LADDER = processes.Ladder(levels=LEVELS, sigma_min=0.02, sigma_max=100)


def recorded(*slots):
  return sampling.Recorded(jnp.asarray(slots)[None])


def run(corrector, score, x, noise, process=EDM, t=2.0, s=1.0):
  t, s = jnp.asarray(t), jnp.asarray(s)
  denoise = lambda x, t: denoising.Prediction(x, -process.sigma(t) * score(x))
  return np.asarray(corrector.step(denoise, process, (), x, t, s, noise)[0])


def test_step_by_hand():
  # |z| = 5, |score| = 13: e = 2 (0.1 * 5 / 13)^2 (Song et al., algorithm 4).
  x, z = np.asarray([[1.0, 2.0]]), np.asarray([[3.0, 4.0]])
  score = np.asarray([[5.0, -12.0]])
  e = 2 * (0.1 * 5 / 13) ** 2
  got = run(
    sampling.Langevin(snr=0.1), lambda x: 0 * x + score, x,
    recorded(np.full_like(z, np.nan), z),
  )  # fmt: skip
  np.testing.assert_allclose(got, x + e * score + np.sqrt(2 * e) * z, 1e-13)


def test_step_of_vp_is_scaled_by_alpha():
  # Algorithm 5: e = 2 alpha_i (...)^2 with alpha_i = 1 - beta_i.
  process = processes.LinearBetas()
  i, beta = 600, np.linspace(1e-4, 0.02, 1000)[600]
  x, z = np.asarray([[1.0, 2.0]]), np.asarray([[3.0, 4.0]])
  score = np.asarray([[5.0, -12.0]])
  e = 2 * (1 - beta) * (0.1 * 5 / 13) ** 2
  t, s = process.time(np.asarray([i, i - 1.0]))
  got = run(
    sampling.Langevin(snr=0.1), lambda x: 0 * x + score, x, recorded(z, z),
    process, t, s,
  )  # fmt: skip
  np.testing.assert_allclose(got, x + e * score + np.sqrt(2 * e) * z, 1e-10)


def test_steps_draw_from_their_own_slots_and_see_the_last():
  x, z = np.ones((1, 2)), np.random.default_rng(0).normal(size=(4, 1, 2))
  once = sampling.Langevin(snr=0.2)
  first = run(once, lambda x: -x, x, recorded(z[0], z[1]))
  second = run(once, lambda x: -x, first, recorded(z[0], z[2]))
  both = run(sampling.Langevin(snr=0.2, steps=2), lambda x: -x, x, recorded(*z))
  np.testing.assert_allclose(both, second, rtol=1e-12)


def test_images_do_not_see_each_other():
  x, z = np.random.default_rng(0).normal(size=(2, 3, 2, 2, 1))
  corrector = sampling.Langevin(snr=0.3)
  together = run(corrector, lambda x: -x, x, recorded(z, z))
  scaled = x * np.asarray([1, 7, 1])[:, None, None, None]
  other = run(corrector, lambda x: -x, scaled, recorded(z, z))
  np.testing.assert_array_equal(together[[0, 2]], other[[0, 2]])
  assert np.all(together[1] != other[1])
  alone = run(corrector, lambda x: -x, x[1:2], recorded(z[1:2], z[1:2]))
  np.testing.assert_allclose(alone, together[1:2], rtol=1e-13)


def test_small_steps_leave_the_marginal():
  # Unadjusted Langevin on N(m, v) with e = 2 snr^2 v has variance
  # v / (1 - e / 2v) = v (1 + snr^2): 1.0025 v. Two relaxation times (e / v =
  # 1/200 a step) are enough for a wrong noise or a wrong score to show.
  data, t = analytic.Gaussian(mean=0.3, std=0.5), 0.7
  mean, variance = map(float, data.marginal(EDM, jnp.asarray(t)))
  shape = 64, 256
  key = jax.random.key(0)
  x = mean + variance**0.5 * jax.random.normal(key, shape)
  noise = sampling.Keys(sampling.image_keys(1, np.arange(64)))
  corrector = sampling.Langevin(snr=0.05, steps=400)
  step = jax.jit(
    lambda x: corrector.step(
      data.denoiser(EDM), EDM, (), x, jnp.asarray(t), jnp.asarray(0.5), noise
    )[0]
  )
  x = np.asarray(step(x))
  error = np.sqrt(variance / x.size)
  assert abs(x.mean() - mean) < 4 * error
  assert abs(x.var() / variance - 1.0025) < 4 * np.sqrt(2 / x.size)


def test_predictor_corrector_is_the_corrector_then_the_predictor():
  predictor, corrector = sampling.ReverseDiffusion(), affine.Relaxation()
  both = sampling.PredictorCorrector(predictor=predictor, corrector=corrector)
  rules = {'corrector': corrector, 'predictor': predictor, 'both': both}
  t, s = np.asarray([[0.6, 0.3], [0.5, 0.2]])
  maps = affine.maps(processes.VP(), rules, t, s)
  (a_c, b_c, c_c), (a_p, b_p, c_p), (a, b, c) = (maps[name] for name in rules)
  a_p, a_c = a_p[:, None], a_c[:, None]
  np.testing.assert_allclose(a[:, None], a_p * a_c, rtol=1e-12)
  np.testing.assert_allclose(c, a_p[:, 0] * c_c + c_p, rtol=1e-10)
  np.testing.assert_allclose(b, b_p + a_p * b_c, rtol=1e-10, atol=1e-14)
  assert np.all(b != 0)  # each draws its own noise


def test_evaluations_add_up():
  rule = sampling.PredictorCorrector(
    predictor=sampling.Heun(), corrector=sampling.Langevin(steps=3)
  )
  assert rule.evaluations == 5


def test_annealed_step_is_that_of_ncsn():
  # Song & Ermon 2019: x + e score + sqrt(2 e) z, e = epsilon (s / s_L)^2 with
  # epsilon 2e-5, s_L 0.01, which score-SDE spells as an snr of 0.316.
  x, z, score = np.random.default_rng(0).normal(size=(3, 2, 3))
  snr = np.sqrt(2e-5 / 2) / 0.01
  assert abs(snr - 0.316) < 5e-4
  e = 2e-5 * (2.0 / 0.01) ** 2
  got = run(
    sampling.AnnealedLangevin(snr=snr), lambda x: 0 * x + score, x,
    recorded(z, z), t=2.0,
  )  # fmt: skip
  np.testing.assert_allclose(got, x + e * score + np.sqrt(2 * e) * z, 1e-12)


def test_coupled_norms_are_means_over_the_batch():
  # Norms 5 and 10 of the noise, 13 and 26 of the score: e of 7.5 / 19.5.
  x = np.asarray([[1.0, 2.0], [0.5, -1.0]])
  z = np.asarray([[3.0, 4.0], [6.0, 8.0]])
  score = np.asarray([[5.0, -12.0], [-10.0, 24.0]])
  e = 2 * (0.1 * 7.5 / 19.5) ** 2
  got = run(
    sampling.Langevin(snr=0.1, coupled=True), lambda x: 0 * x + score, x,
    recorded(z, z),
  )  # fmt: skip
  np.testing.assert_allclose(got, x + e * score + np.sqrt(2 * e) * z, 1e-13)


def test_coupling_is_found_wherever_it_is():
  for coupled in (False, True):
    corrector = sampling.Langevin(coupled=coupled)
    grid = sampling.Uniform(steps=3)
    rule = sampling.PredictorCorrector(
      predictor=sampling.Heun(), corrector=corrector
    )
    assert sampling.couples(corrector) == coupled
    assert sampling.couples(sampling.FixedGrid(solver=rule, grid=grid)) == (
      coupled
    )
    whole = sampling.CorrectedGrid(
      predictor=sampling.Heun(), corrector=corrector, grid=grid
    )
    assert sampling.couples(whole) == coupled
  assert not sampling.couples(sampling.AdaptiveODE())


# The official discretisations: a table in steps of 1 / N under continuous
# marginals, by the index floor(t (N - 1)).
@dataclasses.dataclass(frozen=True, kw_only=True)
class OfficialVP(processes.VP):
  def transition(self, t, s):
    k = jnp.floor(t * (LEVELS - 1) + 1e-9)
    beta = (0.1 + 19.9 * k / (LEVELS - 1)) / LEVELS
    return jnp.sqrt(1 - beta), beta


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfficialSubVP(processes.SubVP):
  def transition(self, t, s):
    return 1 + self.drift(t) / LEVELS, self.diffusion2(t) / LEVELS


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfficialVE(processes.VE):
  def transition(self, t, s):
    k = jnp.floor(t * (LEVELS - 1) + 1e-9)
    now, before = self.sigma(jnp.stack([k, k - 1]) / (LEVELS - 1))
    return jnp.ones_like(t), now**2 - before**2


def compare(kind, name, process, grid, predictors, correctors, scale=1.0):
  """Runs all rules in one compiled call, and compares them step by step."""
  wanted = {
    f'{kind}-{name}-{p}-{c}': (predictors[p], correctors[c])
    for p in predictors
    for c in correctors
  }
  rules = {
    key: sampling.PredictorCorrector(predictor=predictor, corrector=corrector)
    for key, (predictor, corrector) in wanted.items()
    if key in OFFICIAL
  }
  x = scale * jnp.asarray(OFFICIAL['prior'])
  noise, times = sampling.Recorded(OFFICIAL['draws']), grid(process)
  assert len(times) == LEVELS

  @jax.jit
  def run(x):
    return {
      key: sampling.trajectory(
        DATA.denoiser(process), process, rule, x, times, noise
      )
      for key, rule in rules.items()
    }

  for key, path in run(x).items():
    # The official code records what follows each step, and at last the mean.
    np.testing.assert_allclose(
      path[1:], OFFICIAL[key][:-1], rtol=1e-9, atol=1e-9, err_msg=key
    )
  return len(rules)


@pytest.mark.parametrize(
  ('name', 'process', 'scale', 'count'),
  [
    ('vp', OfficialVP(), 1.0, 8),
    ('ve', OfficialVE(), 100.0, 8),
    ('subvp', OfficialSubVP(), 1.0, 2),
  ],
)
def test_official_trajectories_of_continuous_models(
  name, process, scale, count
):
  grid = sampling.Uniform(steps=LEVELS, t_min=1 / LEVELS)
  found = compare(
    'continuous', name, process, grid, PREDICTORS, CORRECTORS, scale
  )
  assert found == count
  flow, still = {'reverse_diffusion': FLOW}, {'none-flow': sampling.Idle()}
  assert compare('continuous', name, process, grid, flow, still, scale)


@pytest.mark.parametrize(
  ('name', 'process', 'spread', 'scale'),
  [('vp', LINEAR, 1.0, 1.0), ('ve', LADDER, 0.0, 100.0)],
)
def test_official_trajectories_of_discrete_models(
  name, process, spread, scale
):
  # Ancestral sampling has DDPM's large variance for VP, and the posterior's,
  # which is Song's, for VE.
  predictors = {
    'reverse_diffusion': sampling.ReverseDiffusion(),
    'ancestral_sampling': sampling.DDIM(eta=1.0, spread=spread),
    'none': sampling.Idle(),
  }
  grid = sampling.Levels(steps=LEVELS)
  count = compare(
    'discrete', name, process, grid, predictors, CORRECTORS, scale
  )
  assert count == 5


@pytest.mark.parametrize(
  ('key', 'process', 'predictor', 'corrector', 'scale'),
  [
    ('ve-reverse_diffusion-langevin', LADDER, sampling.ReverseDiffusion(),
     CORRECTORS['langevin'], 100.0),
    ('ve-ancestral_sampling-none', LADDER, sampling.DDIM(eta=1.0),
     sampling.Idle(), 100.0),
    ('vp-ancestral_sampling-none', LINEAR, sampling.DDIM(eta=1.0, spread=1.0),
     sampling.Idle(), 1.0),
  ],
)  # fmt: skip
def test_official_samples(key, process, predictor, corrector, scale):
  # The official last step is a correction and the predictor's mean, which on
  # the lowest level is the denoiser's x_0.
  calls = []
  sampler = sampling.CorrectedGrid(
    predictor=predictor, corrector=corrector,
    grid=sampling.Levels(steps=LEVELS),
  )  # fmt: skip
  x, evaluations = sampler(
    counted(DATA.denoiser(process), lambda: calls.append(1)), process,
    scale * jnp.asarray(OFFICIAL['prior']),
    sampling.Recorded(OFFICIAL['draws']),
  )  # fmt: skip
  np.testing.assert_allclose(
    x, OFFICIAL[f'discrete-{key}'][-1], rtol=1e-9, atol=1e-9
  )
  jax.effects_barrier()
  assert len(calls) == LEVELS * (corrector.evaluations + 1)
  np.testing.assert_array_equal(evaluations, 3 * [len(calls)])
