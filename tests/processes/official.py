"""Compares a process with the recorded SDEs of score_sde_pytorch."""

from __future__ import annotations

import numpy as np


def check_sde(recorded, name, process):
  """Compares marginal, drift, diffusion and prior at the recorded times.

  The official code forms sqrt(1 - exp(-B)) with 1e-6 left of 1 at t = 1e-5:
  its float64 outputs are good to 1e-10 there.
  """
  of = lambda key: recorded[f'{name}_N1000_{key}__f64']
  t, x = (recorded[key].astype(np.float64) for key in ('t', 'x'))
  column = lambda v: np.asarray(v)[:, None, None, None]
  np.testing.assert_allclose(
    column(process.alpha(t)) * x, of('marg_mean'), rtol=1e-12
  )
  np.testing.assert_allclose(process.sigma(t), of('marg_std'), rtol=1e-9)
  np.testing.assert_allclose(
    column(process.drift(t)) * x, of('drift'), rtol=1e-12
  )
  np.testing.assert_allclose(
    process.diffusion2(t), of('diffusion') ** 2, rtol=1e-9
  )
  np.testing.assert_allclose(process.prior_logp(x), of('prior_logp'), rtol=1e-7)
