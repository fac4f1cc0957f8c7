"""What all tests share: the machine they see, and the list of processes.

The environment is set before jax is imported: the CPU, as eight devices, and
a cache of compiled programs in the checkout, so that a second run is quick.
"""

from __future__ import annotations

import os
import pathlib

REPOSITORY = pathlib.Path(__file__).parents[1]
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_NUM_CPU_DEVICES', '8')
os.environ.setdefault(
  'JAX_COMPILATION_CACHE_DIR', str(REPOSITORY / '.cache' / 'jax')
)
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
# Tests compile much and compute little.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')

import jax  # noqa: E402, reads the environment above
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from difjax import denoising, processes  # noqa: E402

# A new process is one line here: all property tests then run on it.
SMOOTH = {
  'vp': lambda: processes.VP(),
  'subvp': lambda: processes.SubVP(),
  've': lambda: processes.VE(),
  'edm': lambda: processes.EDM(),
  'brownian': lambda: processes.Brownian(),
  'cosine': lambda: processes.Cosine(),
  'flow': lambda: processes.RectifiedFlow(),
  'shifted': lambda: processes.Shifted(process=processes.Cosine(), factor=2.0),
  'rescaled': lambda: processes.Rescaled(
    process=processes.EDM(), data_std=0.5
  ),
}
TABULATED = {
  'linear_betas': lambda: processes.LinearBetas(),
  'cosine_betas': lambda: processes.CosineBetas(),
  'ladder': lambda: processes.Ladder(levels=200),
}
# A new parameterisation, likewise.
TARGETS = {
  'noise': denoising.Noise(),
  'data': denoising.Data(),
  'score': denoising.Score(),
  'v': denoising.V(),
  'velocity': denoising.Velocity(),
  'preconditioned': denoising.Preconditioned(data_std=0.7),
  'consistency': denoising.Consistency(),
}


@pytest.fixture
def x64():
  """Computes a test in float64."""
  with jax.enable_x64(True):
    yield


@pytest.fixture(params=SMOOTH)
def smooth(request):
  """Every process that is smooth in time."""
  return SMOOTH[request.param]()


@pytest.fixture(params=TABULATED)
def tabulated(request):
  """Every process that is a table of levels."""
  return TABULATED[request.param]()


@pytest.fixture(params=SMOOTH | TABULATED)
def process(request):
  """Every process."""
  return (SMOOTH | TABULATED)[request.param]()


@pytest.fixture(params=TARGETS)
def target(request):
  """Every parameterisation."""
  return TARGETS[request.param]


@pytest.fixture
def shared():
  """The folder of reference material beside the checkout."""
  path = REPOSITORY.parent / 'shared'
  if not path.is_dir():
    pytest.skip(f'{path} is not there: no official outputs to compare with')
  return path


@pytest.fixture
def golden(shared):
  """Opens the recorded outputs of an official implementation by name."""

  def load(name):
    path = shared / 'golden' / name / 'io.npz'
    if not path.is_file():
      pytest.skip(f'{path} is not there: no official outputs to compare with')
    return np.load(path)

  return load
