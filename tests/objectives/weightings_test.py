"""Weightings against the formulas of their papers, target by target."""

from __future__ import annotations

import numpy as np
import pytest

from difjax import denoising, objectives, processes
from difjax.denoising import targets

pytestmark = pytest.mark.usefixtures('x64')
VP = processes.VP()
T = np.linspace(0.01, 0.99, 25)
WEIGHTINGS = (
  objectives.UniformWeighting(of=denoising.V()),
  objectives.LikelihoodWeighting(),
  objectives.EDMWeighting(),
  objectives.MinSNRWeighting(),
  objectives.TruncatedSNRWeighting(),
  objectives.SigmoidWeighting(),
)


def snr(process, t):
  return (np.asarray(process.alpha(t)) / np.asarray(process.sigma(t))) ** 2


def test_loss_is_the_same_for_every_target(process, target):
  # An error of the denoiser costs the same, whatever the network puts out.
  t = np.linspace(process.t_min, process.t_max, 9)[1:-1]
  x, x0, wrong = np.random.default_rng(0).normal(size=(3, 7, 4))
  alpha, sigma = (
    np.asarray(v)[:, None] for v in (process.alpha(t), process.sigma(t))
  )

  def error(target):
    y = [
      np.asarray(
        targets.value(target, process, guess, (x - alpha * guess) / sigma, t)
      )
      for guess in (x0, wrong)
    ]
    return np.sum((y[0] - y[1]) ** 2, axis=1)

  ours, theirs = error(target), error(denoising.Data())
  for weighting in WEIGHTINGS:
    np.testing.assert_allclose(
      weighting(process, target, t) * ours,
      weighting(process, denoising.Data(), t) * theirs, rtol=1e-8,
    )  # fmt: skip


def test_uniform_counts_what_the_network_puts_out(process, target):
  t = np.linspace(process.t_min, process.t_max, 5)
  got = objectives.UniformWeighting()(process, target, t)
  np.testing.assert_allclose(got, np.ones(5), rtol=1e-12)


def test_ddpm_simple_loss_on_a_data_network():
  # |eps error|^2 = SNR |x_0 error|^2 (Salimans & Ho 2022, section 4).
  weight = objectives.UniformWeighting(of=denoising.Noise())
  np.testing.assert_allclose(
    weight(VP, denoising.Data(), T), snr(VP, T), rtol=1e-9
  )


def test_uniform_v_is_snr_plus_one():
  # Salimans & Ho 2022, section 4: |v error|^2 = (1 + SNR) |x_0 error|^2.
  weight = objectives.UniformWeighting(of=denoising.V())
  np.testing.assert_allclose(
    weight(VP, denoising.Data(), T), 1 + snr(VP, T), rtol=1e-9
  )


def test_edm():
  # Karras et al. 2022, table 1: lambda(sigma) = (sigma^2 + d^2) / (sigma d)^2
  # on the denoiser, which is 1 on the network's output: lambda c_out^2 = 1.
  edm, d, s = processes.EDM(), 0.5, np.geomspace(0.002, 80, 12)
  weighting = objectives.EDMWeighting(data_std=d)
  np.testing.assert_allclose(
    weighting(edm, denoising.Data(), s), (s**2 + d**2) / (s * d) ** 2,
    rtol=1e-10,
  )  # fmt: skip
  np.testing.assert_allclose(
    weighting(edm, denoising.Preconditioned(data_std=d), s), np.ones(12),
    rtol=1e-10,
  )  # fmt: skip


def test_edm_is_one_on_the_preconditioned_output_of_every_process(smooth):
  t = np.linspace(smooth.t_min, smooth.t_max, 9)
  alpha, sigma = np.asarray(smooth.alpha(t)), np.asarray(smooth.sigma(t))
  # x / alpha is EDM at noise sigma / alpha: the paper's weight at that ratio.
  weight = objectives.EDMWeighting(data_std=0.7)(smooth, denoising.Data(), t)
  ratio = sigma / alpha
  np.testing.assert_allclose(
    weight, (ratio**2 + 0.49) / (0.49 * ratio**2), rtol=1e-8
  )
  np.testing.assert_allclose(
    objectives.EDMWeighting(data_std=0.7)(
      smooth, denoising.Preconditioned(data_std=0.7), t
    ),
    1.0, rtol=1e-8,
  )  # fmt: skip


@pytest.mark.parametrize(
  ('target', 'formula'),
  [
    (denoising.Data(), lambda r: np.minimum(r, 5)),
    (denoising.Noise(), lambda r: np.minimum(r, 5) / r),
    (denoising.V(), lambda r: np.minimum(r, 5) / (r + 1)),
  ],
)
def test_min_snr(target, formula):
  # Hang et al. 2023, section 3.4: x_0, eps and v, gamma = 5.
  got = objectives.MinSNRWeighting(gamma=5.0)(VP, target, T)
  np.testing.assert_allclose(got, formula(snr(VP, T)), rtol=1e-9)


def test_truncated_snr():
  # Salimans & Ho 2022, section 4: max(SNR, 1) on x_0, so on eps max(1, 1/SNR).
  weighting, ratio = objectives.TruncatedSNRWeighting(), snr(VP, T)
  assert ratio.min() < 1 < ratio.max()
  of_data = weighting(VP, denoising.Data(), T)
  np.testing.assert_allclose(of_data, np.maximum(ratio, 1), rtol=1e-9)
  of_noise = weighting(VP, denoising.Noise(), T)
  np.testing.assert_allclose(of_noise, np.maximum(1, 1 / ratio), rtol=1e-9)


def test_likelihood(process):
  # Song et al. 2021: g^2 on the score's error; g^2 / sigma^2 on the noise's.
  t = np.linspace(process.t_min, process.t_max, 9)
  g2, sigma = np.asarray(process.diffusion2(t)), np.asarray(process.sigma(t))
  weighting = objectives.LikelihoodWeighting()
  np.testing.assert_allclose(
    weighting(process, denoising.Score(), t), g2, rtol=1e-9
  )
  np.testing.assert_allclose(
    weighting(process, denoising.Noise(), t), g2 / sigma**2, rtol=1e-9
  )


def test_likelihood_of_vp_in_numbers():
  # At t = 1/2: beta = 10.05, B = 2.5375 and sigma^2 = 1 - exp(-B).
  got = objectives.LikelihoodWeighting()(VP, denoising.Noise(), np.asarray(0.5))
  assert float(got) == pytest.approx(10.05 / (1 - np.exp(-2.5375)), rel=1e-12)


@pytest.mark.parametrize('bias', [-3.0, 1.0])
def test_sigmoid(smooth, bias):
  # Hoogeboom et al. 2024, equation 7: sigmoid(b - lambda) on the eps error,
  # integrated over lambda: for t uniform, times |dlambda/dt| = g^2 / sigma^2.
  t = np.linspace(smooth.t_min, smooth.t_max, 9)
  weighting = objectives.SigmoidWeighting(bias=bias)
  slope = np.asarray(smooth.diffusion2(t)) / np.asarray(smooth.sigma(t)) ** 2
  exact = slope / (1 + snr(smooth, t) * np.exp(-bias))
  np.testing.assert_allclose(
    weighting(smooth, denoising.Noise(), t), exact, rtol=1e-8
  )
