"""SDEs of any diffusion, and SiT's transport, against the official code."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes, sampling
from difjax.denoising import targets
from difjax.processes import base
from difjax.sampling import ode
from tests.sampling import official

RECORDED = official.load('sit_transport')
PATHS = {  # SiT's paths; its time runs from noise at 0 to data at 1
  'linear': processes.RectifiedFlow(t_max=1.0),
  'gvp': processes.Cosine(t_max=1.0),
  'vp': processes.VP(),
}
TARGETS = {
  'velocity': denoising.Velocity(),
  'noise': denoising.Noise(),
  'score': denoising.Score(),
}
DIFFUSIONS = {
  'constant': sampling.ConstantDiffusion,
  'SBDM': sampling.ReverseDiffusionRate,
  'sigma': sampling.SigmaDiffusion,
  'linear': sampling.LinearDiffusion,
  'decreasing': sampling.DecreasingDiffusion,
  'inccreasing-decreasing': sampling.HumpedDiffusion,  # their spelling
}
ODES = {
  'euler': (sampling.Euler(), 9),
  'heun2': (sampling.Heun(), 7),
  'midpoint': (sampling.Heun(alpha=0.5), 7),
}
EULER = sampling.SDEEuler
SDES = {  # solver, last step
  'sbdm_mean': (EULER(), EULER(noise_scale=0.0)),
  'sigma_euler': (
    EULER(diffusion=sampling.SigmaDiffusion()), sampling.Euler()
  ),
  'lin_heun_none': (
    sampling.SDEHeun(diffusion=sampling.LinearDiffusion()), None
  ),
  'dec_tweedie': (
    EULER(diffusion=sampling.DecreasingDiffusion()), sampling.Denoise()
  ),
}  # fmt: skip


def official_denoiser(path, kind):
  """The closed-form network of the official runs, as a denoiser."""
  process, c = PATHS[path], RECORDED['c'].astype(float)

  def network(x, t):
    alpha, sigma = process.alpha(t), process.sigma(t)
    q = (x - alpha * c) / (0.25 * alpha**2 + sigma**2) + 0.1 * jnp.sin(2 * x)
    tau = 1 - t
    flow = -0.3 * x + 0.5 * jnp.sin(2 * x + 3 * tau) + (1 - tau) * c
    return {'velocity': -flow, 'noise': sigma * q, 'score': -q}[kind]

  return lambda x, t: targets.invert(
    TARGETS[kind], process, network(x, t), x, t
  )


def interval(path, kind, last, sde):
  """The ends of SiT's time, by its documented rule."""
  eps = 0.0 if kind == 'velocity' and path != 'vp' else 1e-3
  start = 0.0 if path == 'vp' or kind == 'velocity' else eps
  return start, 1 - (last if sde and last else eps)


@functools.cache
def trajectories():
  names = [name for name in RECORDED.files if name.endswith('__f64')]
  odes = [n for n in names if '_ode_' in n and n.split('_')[3] in ODES]
  odes = [n for n in odes if 'reverse' not in n]
  sdes = [n for n in names if '_sde_' in n]
  x = jnp.asarray(RECORDED['x_init'], jnp.float64)
  noise = sampling.Recorded(RECORDED['sde_noises'].astype(float)[:, None])

  def run():
    found = {}
    for name in odes:
      path, _, kind, rule = name.removesuffix('__f64').split('_')
      solver, count = ODES[rule]
      times = 1 - np.linspace(*interval(path, kind, 0.0, False), count)
      found[name] = sampling.trajectory(
        official_denoiser(path, kind), PATHS[path], solver, x, times,
        noise,
      )  # fmt: skip
    for name in sdes:
      path, _, kind, case = name.removesuffix('__f64').split('_', 3)
      solver, last = SDES[case]
      start, stop = interval(path, kind, 0.04 if last else 0.0, True)
      times = 1 - np.linspace(start, stop, 12)
      denoiser = official_denoiser(path, kind)
      steps = sampling.trajectory(
        denoiser, PATHS[path], solver, x, times, noise
      )[1:]
      end = steps[-1]
      if last:
        t, data = jnp.asarray(times[-1]), jnp.asarray(0.0)
        end, _ = last.step(denoiser, PATHS[path], (), end, t, data, noise)
      found[name] = jnp.concatenate([steps, end[None]])
    return found

  return official.eagerly(run)


@pytest.mark.usefixtures('x64')
def test_official_trajectories():
  found = trajectories()
  assert len(found) >= 30
  for name, x in found.items():
    exact = RECORDED[name]
    scale = np.abs(exact).max()
    np.testing.assert_allclose(x, exact, atol=1e-6 * scale, err_msg=name)


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize(
  ('path', 'kind'),
  [('linear', 'velocity'), ('gvp', 'noise'), ('vp', 'velocity')],
)
def test_official_adaptive_ode(path, kind):
  """The official run has a relative tolerance of 1e-3, for all images."""
  times = 1 - np.asarray(interval(path, kind, 0.0, False))
  x = jnp.asarray(RECORDED['x_init'], jnp.float64)
  end, _ = ode.solve(
    official_denoiser_of_images(path, kind), PATHS[path], x, *times, rtol=1e-5
  )
  exact = RECORDED[f'{path}_ode_{kind}_dopri5__f64'][-1]
  np.testing.assert_allclose(end, exact, atol=5e-3 * np.abs(exact).max())


def official_denoiser_of_images(path, kind):
  plain = official_denoiser(path, kind)
  return lambda x, t: plain(x, base.expand(t, x))


@pytest.mark.usefixtures('x64')
@pytest.mark.parametrize('path', PATHS)
def test_official_path_coefficients(path):
  process = PATHS[path]
  t = 1 - RECORDED['t'].astype(float)
  x, v, x0, x1 = (RECORDED[k].astype(float) for k in ('x', 'v', 'x0', 'x1'))
  wide = lambda values: np.asarray(values)[:, None, None, None]
  alpha_dot = -wide(base.derivative(process.alpha, t))
  sigma_dot = -wide(base.derivative(process.sigma, t))
  alpha, sigma = wide(process.alpha(t)), wide(process.sigma(t))
  of_velocity = targets.invert(denoising.Velocity(), process, -v, x, t)
  of_score = targets.invert(denoising.Score(), process, v, x, t)
  ours = {
    'alpha': process.alpha(t),
    'd_alpha': alpha_dot.ravel(),
    'sigma': process.sigma(t),
    'd_sigma': sigma_dot.ravel(),
    'd_alpha_over_alpha': -process.drift(t),
    'drift': wide(process.drift(t)) * x,
    'drift_var': process.diffusion2(t) / 2,
    'score_from_velocity': denoising.score(of_velocity, process, t),
    'noise_from_velocity': of_velocity.eps,
    'velocity_from_score': -denoising.velocity(of_score, process, t),
    'plan_xt': alpha * x1 + sigma * x0,
    'plan_ut': alpha_dot * x1 + sigma_dot * x0,
  }
  for name, make in DIFFUSIONS.items():
    ours[f'diffusion_{name}'] = make(scale=1.3)(process, t)
  for name, value in ours.items():
    exact = RECORDED[f'{path}_{name}__f64']
    scale = np.abs(exact).max()
    np.testing.assert_allclose(value, exact, atol=1e-6 * scale, err_msg=name)


@pytest.mark.usefixtures('x64')
def test_the_reverse_sde_is_one_of_them(smooth):
  """w = g^2 / 2 is Euler-Maruyama on dx = (f x - g^2 score) dt + g dw."""
  pair = denoising.Prediction(
    jnp.asarray([[0.4, -0.7]]), jnp.asarray([[1.0, 0.2]])
  )
  t, s = smooth.time_of_logsnr(jnp.asarray([-1.0, -0.9]))
  x = smooth.alpha(t) * pair.x0 + smooth.sigma(t) * pair.eps
  noise = sampling.Recorded(jnp.asarray([[[[0.3, -2.0]]]]))
  ends = [
    rule.step(lambda *_: pair, smooth, (), x, t, s, noise)[0]
    for rule in (sampling.SDEEuler(), sampling.EulerMaruyama())
  ]
  np.testing.assert_allclose(*ends, rtol=1e-9)
