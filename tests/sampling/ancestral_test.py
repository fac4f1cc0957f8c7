"""DDIM and DDPM: the posterior, the papers' formulas, official trajectories."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes, sampling
from difjax.processes import discrete

pytestmark = pytest.mark.usefixtures('x64')
BETAS = np.linspace(1e-4, 0.02, 1000)
DDPM = sampling.DDIM(eta=1.0)
X, X0, Z = np.random.default_rng(0).normal(size=(3, 2, 3))


def pair_of(process, x, x0, t, spread=None):
  alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
  return denoising.Prediction(x0, (x - alpha * x0) / sigma, spread)


def one_step(process, solver, t, s, z, spread=None):
  """Takes X from t to s, with a denoiser that says X0, drawing z."""
  denoise = lambda x, t: pair_of(process, x, X0, t, spread)
  noise = sampling.Recorded(jnp.asarray(z)[None, None])
  t, s = jnp.asarray(t), jnp.asarray(s)
  return np.asarray(
    solver.step(denoise, process, (), jnp.asarray(X), t, s, noise)[0]
  )


def interior(process):
  return process.t_min + np.asarray([0.7, 0.4]) * (
    process.t_max - process.t_min
  )


def test_eta_one_draws_from_the_posterior(process):
  t, s = interior(process)
  mean, variance = process.posterior(X, X0, jnp.asarray(t), jnp.asarray(s))
  solver = sampling.DDIM(eta=1.0)
  np.testing.assert_allclose(
    one_step(process, solver, t, s, 0 * Z), mean, rtol=1e-9, atol=1e-12
  )
  np.testing.assert_allclose(
    one_step(process, solver, t, s, Z) - one_step(process, solver, t, s, 0 * Z),
    np.sqrt(float(variance)) * Z, rtol=1e-9, atol=1e-12,
  )  # fmt: skip


@pytest.mark.parametrize('i', [1, 2, 500, 999])
def test_eta_one_is_ddpm(i):
  # Ho et al. 2020, equations 6 and 7 (algorithm 2 with the smaller variance).
  bar = np.cumprod(1 - BETAS)
  beta, before, now = BETAS[i], bar[i - 1], bar[i]
  mean = (
    np.sqrt(before) * beta / (1 - now) * X0
    + np.sqrt(1 - beta) * (1 - before) / (1 - now) * X
  )
  std = np.sqrt((1 - before) / (1 - now) * beta)
  process = processes.LinearBetas()
  t, s = process.time(np.asarray([i, i - 1.0]))
  got = one_step(process, sampling.DDIM(eta=1.0), t, s, Z)
  np.testing.assert_allclose(got, mean + std * Z, rtol=1e-9, atol=1e-12)


def test_eta_one_is_ve_ancestral():
  # Song et al. 2021, equation 47: x + (a^2 - b^2) score + ... z.
  a, b = 3.0, 1.2
  score = (X0 - X) / a**2
  std = np.sqrt(b**2 * (a**2 - b**2) / a**2)
  got = one_step(processes.EDM(), sampling.DDIM(eta=1.0), a, b, Z)
  np.testing.assert_allclose(
    got, X + (a**2 - b**2) * score + std * Z, rtol=1e-12
  )


@pytest.mark.parametrize('eta', [0.0, 0.5, 1.0])
def test_eta_is_that_of_the_paper(eta):
  # Song, Meng & Ermon 2021, equations 12 and 16; their alpha is alpha^2 here.
  process = processes.LinearBetas()
  bar, (now, before) = np.cumprod(1 - BETAS), (700, 400)
  a, b = bar[now], bar[before]
  std = eta * np.sqrt((1 - b) / (1 - a)) * np.sqrt(1 - a / b)
  eps = (X - np.sqrt(a) * X0) / np.sqrt(1 - a)
  exact = np.sqrt(b) * X0 + np.sqrt(1 - b - std**2) * eps + std * Z
  t, s = process.time(np.asarray([now, 1.0 * before]))
  got = one_step(process, sampling.DDIM(eta=eta), t, s, Z)
  np.testing.assert_allclose(got, exact, rtol=1e-9)


def test_eta_zero_draws_nothing(process):
  t, s = interior(process)
  got = one_step(process, sampling.DDIM(), t, s, np.full_like(Z, np.nan))
  alpha, sigma = float(process.alpha(s)), float(process.sigma(s))
  eps = pair_of(process, X, X0, t).eps
  np.testing.assert_allclose(got, alpha * X0 + sigma * eps, rtol=1e-12)


@pytest.mark.parametrize('spread', [0.0, 0.25, 1.0])
def test_learned_variance_interpolates(process, spread):
  # Nichol & Dhariwal 2021, equation 15: exp(v log beta + (1 - v) log beta~).
  t, s = interior(process)
  _, posterior = process.posterior(X, X0, jnp.asarray(t), jnp.asarray(s))
  _, b2 = process.transition(jnp.asarray(t), jnp.asarray(s))
  exact = np.exp(spread * np.log(b2) + (1 - spread) * np.log(posterior))
  solver = sampling.DDIM(eta=1.0)
  spread = jnp.full_like(X, spread)
  still = one_step(process, solver, t, s, 0 * Z, spread)
  drawn = one_step(process, solver, t, s, Z, spread) - still
  np.testing.assert_allclose(drawn, np.sqrt(exact) * Z, rtol=1e-8, atol=1e-12)
  # The mean is the posterior's whatever the variance.
  np.testing.assert_array_equal(still, one_step(process, solver, t, s, 0 * Z))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaledLinear(discrete.Betas):
  """The levels of Stable Diffusion: betas linear in their root."""

  def betas(self):
    return np.linspace(0.00085**0.5, 0.012**0.5, self.levels) ** 2


def official_denoiser(recorded, process, spread=None):
  """The noise predictor that the official schedulers were run on."""
  mu, s0 = recorded['mu'].astype(float), recorded['s0'].astype(float)

  def denoise(x, t):
    a2 = jnp.exp(-0.1 * t - 9.95 * t**2)
    a, s = jnp.sqrt(a2), jnp.sqrt(1 - a2)
    eps = s * (x - a * mu) / (a2 * s0**2 + s**2) + 0.1 * jnp.sin(3 * x)
    x0 = (x - process.sigma(t) * eps) / process.alpha(t)
    return denoising.Prediction(x0, eps, spread)

  return denoise


def check_official(recorded, case, process, solver, times, *, denoise, spread):
  trajectory = recorded[f'{case}__traj__f64']
  got = sampling.sample(
    official_denoiser(recorded, process, spread), process, solver,
    jnp.asarray(trajectory[0]), times,
    sampling.Recorded(recorded[f'{case}__noises'].astype(float)[:, None]),
    denoise=denoise,
  )  # fmt: skip
  np.testing.assert_allclose(got, trajectory[-1], atol=1e-9)


def test_official_ddim(golden):
  # Stable Diffusion's table, ten steps, eta 0.6; the last step ends at level 0.
  recorded, process = golden('diffusers_schedulers'), ScaledLinear()
  index = np.append(recorded['ddim_eta__timesteps'], 0)
  check_official(
    recorded, 'ddim_eta', process, sampling.DDIM(eta=0.6), (index + 1) / 1000,
    denoise=False, spread=None,
  )  # fmt: skip


def test_official_ddpm_with_the_larger_variance(golden):
  # DDPM's table, ten of its levels, variance b^2; the last step is x_0 itself.
  recorded, process = golden('diffusers_schedulers'), processes.LinearBetas()
  times = (recorded['ddpm_large__timesteps'] + 1) / 1000
  check_official(
    recorded, 'ddpm_large', process, sampling.DDIM(eta=1.0), times,
    denoise=True, spread=1.0,
  )  # fmt: skip


@pytest.mark.parametrize('i', [1, 500, 999])
def test_spread_one_is_score_sde_ancestral_for_vp(i):
  # Song et al. 2021, equation 4: (x + beta score) / sqrt(1 - beta), and all of
  # the transition's noise.
  process, beta = processes.LinearBetas(), BETAS[i]
  t, s = process.time(np.asarray([i, i - 1.0]))
  score = -pair_of(process, X, X0, t).eps / float(process.sigma(t))
  got = one_step(process, sampling.DDIM(eta=1.0, spread=1.0), t, s, Z)
  exact = (X + beta * score) / np.sqrt(1 - beta) + np.sqrt(beta) * Z
  np.testing.assert_allclose(got, exact, rtol=1e-9, atol=1e-12)


def test_a_learned_spread_goes_before_the_fixed_one():
  process = processes.VP()
  step = lambda v, learned: one_step(
    process, sampling.DDIM(eta=1.0, spread=v), 0.6, 0.4, Z, learned
  )
  np.testing.assert_array_equal(step(0.0, 0.3), step(1.0, 0.3))
  np.testing.assert_allclose(step(0.3, None), step(1.0, 0.3), rtol=1e-12)


@pytest.mark.parametrize('eta', [0.3, 1.0])
def test_ancestral_levels_are_those_of_k_diffusion(eta):
  # Up: min(b, eta sqrt(b^2 (a^2 - b^2) / a^2)), down: sqrt(b^2 - up^2).
  edm, a, b = processes.EDM(), 3.0, 1.2
  up = min(b, eta * np.sqrt(b**2 * (a**2 - b**2) / a**2))
  down = np.sqrt(b**2 - up**2)
  rule = sampling.Ancestral(solver=sampling.Euler(), eta=eta, noise_scale=1.1)
  assert float(rule.down(edm, a, b)) == pytest.approx(down, rel=1e-12)
  slope = (X - X0) / a
  np.testing.assert_allclose(
    one_step(edm, rule, a, b, Z), X + (down - a) * slope + 1.1 * up * Z,
    rtol=1e-12,
  )  # fmt: skip


def law(process, solver):
  """Returns where one step takes X, and what it makes of a draw."""
  t, s = interior(process)
  still = one_step(process, solver, t, s, 0 * Z)
  return still, one_step(process, solver, t, s, Z) - still


def test_around_ddim_it_is_the_posterior(smooth):
  # d is below s, and may be below t_min: there alpha and sigma go on.
  ours = law(smooth, sampling.Ancestral(solver=sampling.DDIM()))
  for mine, theirs in zip(ours, law(smooth, DDPM), strict=True):
    np.testing.assert_allclose(mine, theirs, rtol=1e-8, atol=1e-10)


def test_without_noise_it_is_its_solver(process):
  plain = law(process, sampling.DDIM())
  rule = sampling.Ancestral(solver=sampling.DDIM(), eta=0.0)
  np.testing.assert_array_equal(law(process, rule), plain)


def test_a_long_step_in_float32_goes_where_it_should():
  with jax.enable_x64(False):
    rule = sampling.Ancestral(solver=sampling.Euler())
    down = rule.down(processes.EDM(), jnp.float32(80), jnp.float32(0.002))
  assert float(down) == pytest.approx(0.002**2 / 80, rel=1e-5)


def test_no_step_goes_below_the_floor():
  edm = processes.EDM()
  rule = sampling.Ancestral(solver=sampling.Euler(), floor=1.0)
  assert float(rule.down(edm, 3.0, 1.2)) == pytest.approx(1.0)
  assert float(rule.down(edm, 1.5, 0.8)) == pytest.approx(0.8)  # nor lifts s


def test_dpm_sde_is_ancestral_where_x0_stays(smooth):
  # With the same x_0 at every point its step is (1) with eta 1, of one draw.
  t, s = interior(smooth)
  z = np.stack([0 * Z, Z])  # slots: the look, and the step
  denoise = lambda x, t: pair_of(smooth, x, X0, t)
  end, _ = sampling.DPMPPSDE(one_path=False).step(
    denoise, smooth, (), jnp.asarray(X), jnp.asarray(t), jnp.asarray(s),
    sampling.Recorded(z[None]),
  )  # fmt: skip
  exact = one_step(smooth, DDPM, t, s, Z)
  np.testing.assert_allclose(end, exact, rtol=1e-8, atol=1e-10)


def test_draws_of_one_path():
  # With r = 1/2 of log(4): sigma 4, 2, 1, and x_0 = 0. By ancestral steps from
  # 2 to 1 x is divided by 4, so the draws of the two halves make up the whole:
  # of variance 1 - 1/16, the first half 4 (1 - 1/4) / 16.
  edm, zero = processes.EDM(), np.zeros((1, 1))
  denoise = lambda x, t: denoising.Prediction(0 * x, x / t)
  draw = lambda z: float(
    sampling.DPMPPSDE().step(
      denoise, edm, (), jnp.asarray(zero), 4.0, 1.0,
      sampling.Recorded(np.asarray(z).reshape(1, 2, 1, 1)),
    )[0][0, 0]
  )  # fmt: skip
  assert draw([1, 0]) == pytest.approx(np.sqrt(3 / 16))
  assert draw([0, 1]) == pytest.approx(np.sqrt(15 / 16 - 3 / 16))
