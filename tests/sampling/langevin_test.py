"""Langevin's step by hand, what it leaves alone, and predictor-correctors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes, sampling
from tests import analytic
from tests.sampling import affine

pytestmark = pytest.mark.usefixtures('x64')
EDM = processes.EDM()


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
