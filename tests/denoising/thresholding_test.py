"""Predictions in the range of images, against numbers by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes
from difjax.denoising import contrast, thresholding
from tests import analytic
from tests.denoising import contrast_test, guidance_test

pytestmark = pytest.mark.usefixtures('x64')


def known(x, t):
  """x_0 of two images, one of them out of range."""
  x0 = jnp.asarray([[-3.0, -0.5, 0.5, 2.0], [0.0, 0.2, -0.4, 0.9]])
  return denoising.Prediction(x0, 0 * x0 + 7.0)


@pytest.mark.parametrize(
  ('bound', 'wanted'),
  [
    (thresholding.Clip(), [[-1, -0.5, 0.5, 1], [0, 0.2, -0.4, 0.9]]),
    (thresholding.Clip(low=0.0), [[0, 0, 0.5, 1], [0, 0.2, 0, 0.9]]),
    # All: s is 3 and 1, the most of each image, but no less than 1.
    (
      thresholding.Dynamic(quantile=1.0),
      [[-1, -1 / 6, 1 / 6, 2 / 3], [0, 0.2, -0.4, 0.9]],
    ),
    # Of 0.5, 0.5, 2, 3 two thirds lie up to 2.
    (
      thresholding.Dynamic(quantile=2 / 3),
      [[-1, -0.25, 0.25, 1], [0, 0.2, -0.4, 0.9]],
    ),
    (
      thresholding.Dynamic(quantile=1.0, least=0.5),
      [[-1, -1 / 6, 1 / 6, 2 / 3], [0, 2 / 9, -4 / 9, 1]],
    ),
    (
      thresholding.Dynamic(quantile=1.0, most=2.0),
      [[-1, -0.25, 0.25, 1], [0, 0.2, -0.4, 0.9]],
    ),
  ],
)  # fmt: skip
def test_bounds(bound, wanted):
  found = thresholding.thresholded(known, processes.VP(), bound)(
    jnp.zeros((2, 4)), 0.5
  )
  np.testing.assert_allclose(found.x0, wanted, atol=1e-15)


@pytest.mark.parametrize('bound', [
  thresholding.Clip(low=-0.2, high=0.1), thresholding.Dynamic(least=0.1)
])  # fmt: skip
def test_eps_follows(process, bound):
  t = jnp.linspace(process.t_min, process.t_max, 5)
  x = 3 * jnp.sin(jnp.arange(10.0)).reshape(5, 2)
  pair = thresholding.thresholded(
    analytic.Mixture().denoiser(process), process, bound
  )(x, t)
  np.testing.assert_allclose(
    process.perturb(pair.x0, pair.eps, t), x, rtol=1e-9, atol=1e-9
  )


def test_eps_stays_if_asked():
  found = thresholding.thresholded(known, processes.VP(), consistent=False)(
    jnp.zeros((2, 4)), 0.5
  )
  np.testing.assert_array_equal(found.eps, np.full((2, 4), 7.0))
  assert np.abs(found.x0).max() == 1.0


def test_what_is_in_range_is_left_alone():
  process = processes.EDM()
  plain = analytic.Gaussian(0.1, 0.2).denoiser(process)
  x, t = jnp.asarray([[0.3, -0.2]]), 0.4
  found = thresholding.thresholded(plain, process)(x, t)
  for one, other in zip(found[:2], plain(x, t)[:2], strict=True):
    np.testing.assert_array_equal(one, other)


def test_rules_intervals_and_bounds_compose():
  """CFG++ around rescaling at high noise, then each image's range of x_0."""
  process = processes.VP()
  x, t = guidance_test.seen(process)
  model, cond = contrast_test.exact(process), contrast_test.COND
  level = process.sigma(t) / process.alpha(t)
  rule = contrast.CFGPlusPlus(
    rule=contrast.Rescaled(factor=0.5, target=denoising.Data())
  )
  guided = contrast.interval_limited(
    contrast.classifier_free(model, process, cond, 0.8, rule=rule),
    model(cond), process, float(level[1]), 1e9,
  )  # fmt: skip
  found = thresholding.thresholded(
    guided, process, thresholding.Dynamic(quantile=1.0, least=0.1),
    consistent=False,
  )(x, t)  # fmt: skip
  full, weak = model(cond)(x, t), model({'label': jnp.full(6, -1)})(x, t)
  line = 0.2 * weak.x0 + 0.8 * full.x0
  share = 0.5 * full.x0.std(axis=1) / line.std(axis=1) + 0.5
  assert np.abs(share - 1).max() > 0.01
  inside = (np.arange(6) > 1)[:, None]
  x0 = np.where(inside, share[:, None] * line, full.x0)
  size = np.maximum(np.abs(x0).max(axis=1, keepdims=True), 0.1)
  np.testing.assert_allclose(found.x0, x0 / size, rtol=1e-10)
  np.testing.assert_allclose(
    found.eps, np.where(inside, weak.eps, full.eps), rtol=1e-10
  )


@pytest.mark.parametrize(
  ('kind', 'fields', 'text'),
  [
    (thresholding.Dynamic, {'quantile': 99.5}, r'99\.5'),
    (thresholding.Dynamic, {'least': 0.0}, 'least must be above 0'),
    (thresholding.Dynamic, {'least': 2.0, 'most': 1.0}, r'2\.0, 1\.0'),
    (thresholding.Clip, {'low': 1.0}, 'low must be below high'),
  ],
)
def test_what_is_no_range(kind, fields, text):
  with pytest.raises(ValueError, match=text):
    kind(**fields)
