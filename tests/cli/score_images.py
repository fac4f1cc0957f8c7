"""Flags and files of tests that score images by pixels."""

from __future__ import annotations

import numpy as np

BY_PIXELS = (
  '--features.type=evaluation.Pixels', '--figures.draws=0',
  '--figures.subset=4', '--figures.subsets=2',
)  # fmt: skip


def images(file, count=20, seed=0, most=256, shape=(8, 8, 1)):
  """Writes random images; returns the file's name."""
  rng = np.random.default_rng(seed)
  np.savez(file, rng.integers(0, most, (count, *shape), np.uint8))
  return file


def value(text, name):
  """Returns the figure of a name in a table."""
  (row,) = (line for line in text.splitlines() if line.startswith(f'{name} '))
  return float(row.split()[1])
