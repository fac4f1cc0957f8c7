"""The mixture against that of the tests, and its moments by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.evaluation import mixture
from tests import analytic

pytestmark = pytest.mark.usefixtures('x64')


@pytest.mark.parametrize('scalar', [False, True])
def test_the_denoiser_is_exact(process, scalar):
  made = mixture.Mixture(process=process)
  exact = analytic.Mixture(
    weights=made.weights, means=made.means, angles=(0.0, 0.0, 0.0),
    stds=tuple((s, s) for s in made.stds),
  ).denoiser(process)  # fmt: skip
  t = jnp.linspace(process.t_min, process.t_max, 6)
  x = process.perturb(
    jax.random.normal(jax.random.key(0), (6, 2)),
    jax.random.normal(jax.random.key(1), (6, 2)), t,
  )  # fmt: skip
  t = t[2] if scalar else t
  found, wanted = made.denoiser(())(x, t), exact(x, t)
  np.testing.assert_allclose(found.x0, wanted.x0, rtol=1e-10, atol=1e-10)
  np.testing.assert_allclose(found.eps, wanted.eps, rtol=1e-10, atol=1e-10)


def test_moments_by_hand():
  made = mixture.Mixture(
    means=((-1.0,), (3.0,)), stds=(2.0, 0.0), weights=(0.25, 0.75)
  )
  mean, covariance = made.moments()
  np.testing.assert_allclose(mean, [2.0])
  # Of the first part 0.25 (4 + 9), of the second 0.75 (0 + 1).
  np.testing.assert_allclose(covariance, [[4.0]])
  assert made.shape == (1,)


def test_parts_that_do_not_fit():
  with pytest.raises(ValueError, match='not equally many'):
    mixture.Mixture(stds=(1.0,))
  with pytest.raises(ValueError, match='add up to 1'):
    mixture.Mixture(weights=(0.5, 0.5, 0.5))
