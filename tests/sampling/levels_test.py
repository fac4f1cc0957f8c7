"""Levels of a table against the official codes' integers."""

from __future__ import annotations

import numpy as np
import pytest

from difjax import errors, processes, sampling

TABLE = processes.LinearBetas()
GRIDS = {
  'levels': sampling.Levels(steps=7),
  'spare': sampling.Levels(steps=7, spare=1),
  'leading': sampling.LeadingLevels(steps=7, offset=1),
  'trailing': sampling.TrailingLevels(steps=7),
  'quadratic': sampling.QuadraticLevels(steps=7),
  'respaced': sampling.RespacedLevels(counts=(3, 4)),
  'strided': sampling.StridedLevels(steps=7),
  'bounded': sampling.BoundedLevels(steps=7),
}


def index(grid, process=TABLE):
  return np.round(grid(process) * process.levels - 1).astype(int)


@pytest.mark.parametrize('name', GRIDS)
def test_levels_of_every_table(tabulated, name):
  times = GRIDS[name](tabulated)
  assert times.dtype == np.float64
  assert times.shape == (7,)
  assert np.all(np.diff(times) < 0)
  levels = times * tabulated.levels
  np.testing.assert_allclose(levels, np.round(levels), rtol=1e-12)
  assert tabulated.t_min <= times[-1] < times[0] <= tabulated.t_max


def test_all_levels_are_ddpm():
  times = sampling.Levels(steps=1000)(TABLE)
  np.testing.assert_allclose(times, np.arange(1000, 0, -1) / 1000, rtol=1e-15)


def test_some_levels_are_levels():
  process = processes.LinearBetas(levels=10)
  times = sampling.Levels(steps=4)(process)
  np.testing.assert_allclose(times, [1.0, 0.7, 0.4, 0.1], rtol=1e-15)


def test_spacings_of_lin_et_al():
  # Common Diffusion Noise Schedules and Sample Steps are Flawed, table 2: ten
  # of 1,000, counted from 1 there.
  ours = lambda grid: (index(grid) + 1)[::-1].tolist()
  leading = [1, 101, 201, 301, 401, 501, 601, 701, 801, 901]
  assert ours(sampling.LeadingLevels(steps=10)) == leading
  linspace = [1, 112, 223, 334, 445, 556, 667, 778, 889, 1000]
  assert ours(sampling.Levels(steps=10)) == linspace
  trailing = [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
  assert ours(sampling.TrailingLevels(steps=10)) == trailing


def test_quadratic_is_ddim():
  # Song, Meng & Ermon 2021: tau_i = floor(c i^2), the last near 0.8 T.
  roots = np.linspace(0, np.sqrt(800), 20)
  np.testing.assert_array_equal(
    index(sampling.QuadraticLevels(steps=20)), (roots**2).astype(int)[::-1]
  )


@pytest.mark.parametrize(
  ('counts', 'exact'),
  [
    ((4,), [0, 333, 666, 999]),
    ((2, 3), [0, 499, 500, 750, 999]),  # 249.5 is rounded to even
    ((1, 2, 1), [0, 334, 666, 667]),  # 1,000 is 334 + 333 + 333
  ],
)
def test_sections_are_spaced_by_themselves(counts, exact):
  grid = sampling.RespacedLevels(counts=counts)
  assert index(grid)[::-1].tolist() == exact


def test_respaced_levels_of_the_official_run(golden):
  official = golden('guided_sampling')['timestep_map']
  grid = sampling.RespacedLevels(counts=(len(official),))
  np.testing.assert_array_equal(index(grid)[::-1], official)


def test_a_section_has_as_many_levels_as_are_asked():
  with pytest.raises(errors.ConfigError, match='section 1 has 500 levels'):
    sampling.RespacedLevels(counts=(2, 501))(TABLE)


def test_strides():
  # "ddim25" is every 40th level, from 0.
  np.testing.assert_array_equal(
    index(sampling.StridedLevels(steps=25)), np.arange(960, -1, -40)
  )
  with pytest.raises(errors.ConfigError, match='no stride gives 400'):
    sampling.StridedLevels(steps=400)(TABLE)


def test_bounded_levels_are_those_of_edm():
  # Karras et al. 2022, table 1, iDDPM: u_{j-1} by recursion, M = 1000, C1 =
  # 0.001, C2 = 0.008.
  bar = np.sin(np.arange(1001) / 1000 / 1.008 * np.pi / 2) ** 2
  u = np.zeros(1001)
  for j in range(1000, 0, -1):
    kept = max(bar[j - 1] / bar[j], 0.001)
    u[j - 1] = np.sqrt((u[j] ** 2 + 1) / kept - 1)
  inside = u[(u >= 0.002) & (u <= 81)]
  exact = inside[np.round((len(inside) - 1) / 6 * np.arange(7)).astype(int)]
  grid = sampling.Matched(
    process=processes.CosineBetas(), grid=sampling.BoundedLevels(steps=7)
  )
  np.testing.assert_allclose(grid(processes.EDM()), exact, rtol=1e-9)


@pytest.mark.parametrize('steps', [0, -5])
def test_no_steps_are_refused(steps):
  with pytest.raises(ValueError, match='steps must be at least 1'):
    sampling.Levels(steps=steps)
