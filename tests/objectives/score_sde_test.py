"""The losses of score SDE, against its official code on recorded draws.

The official PyTorch code gave `golden/score_sde_losses.npz` in float64 with
the network tanh(x) cos(label / 7). Its VE data are in [0, 1], so that sigmas
here are twice its own, and scores half: `unit` says so.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from difjax import denoising, objectives, processes
from difjax.objectives import times

pytestmark = pytest.mark.usefixtures('x64')
GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'score_sde_losses.npz'
LEVELS = 1_000
WEIGHTINGS = {
  'std2': objectives.UniformWeighting(of=denoising.Noise()),
  'g2': objectives.LikelihoodWeighting(),
}
REDUCTIONS = {'mean': objectives.mean, 'half': objectives.half_sum}
VE = processes.VE(sigma_min=0.02, sigma_max=100.0)
NOISE, SCORE = denoising.Noise(), denoising.Score(unit=2.0)


class Wave(nn.Module):
  """tanh(x) cos(label / 7)."""

  def __call__(self, x, noise, cond=None, *, train=False):
    return jnp.tanh(x) * jnp.cos(noise / 7)[:, None, None, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn(times.Times):
  """Times that were recorded."""

  t: tuple[float, ...]

  def quantile(self, process, u):
    return jnp.quantile(jnp.asarray(self.t), u)

  def draw(self, process, key, n):
    return jnp.asarray(self.t), jnp.ones(n)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """A golden loss, and how difjax spells it."""

  process: processes.Process
  label: object
  target: denoising.Target = NOISE

  def loss(self, golden, name, t, monkeypatch):
    objective = objectives.Denoising(
      process=self.process, target=self.target, network=Wave(),
      inputs=denoising.InputMap(noise=self.label),
      times=Drawn(t=tuple(t.tolist())),
      weighting=WEIGHTINGS.get(name.split('_')[1], WEIGHTINGS['std2']),
      reduction=REDUCTIONS[name.split('_')[-1]],
    )  # fmt: skip
    draw = lambda key, shape, dtype: jnp.asarray(golden[f'{name}_z'], dtype)
    monkeypatch.setattr(jax.random, 'normal', draw)
    batch = {'image': jnp.asarray(golden['x0'])}
    key = jax.random.key(0)
    return objective.loss({}, (), (), batch, key, step=0, ema={})[0]


RUNS = {
  'vp': Run(process=processes.VP(), label=denoising.Linear(factor=999.0)),
  'subvp': Run(process=processes.SubVP(), label=denoising.Linear(factor=999.0)),
  've': Run(process=VE, label=denoising.Sigma(unit=2.0), target=SCORE),
}


@pytest.fixture(scope='module')
def golden():
  with np.load(GOLDEN) as file:
    return dict(file)


@pytest.mark.parametrize('reduction', REDUCTIONS)
@pytest.mark.parametrize('weighting', WEIGHTINGS)
@pytest.mark.parametrize('sde', RUNS)
def test_continuous_losses(sde, weighting, reduction, golden, monkeypatch):
  name = f'{sde}_{weighting}_{reduction}'
  made = RUNS[sde].loss(golden, name, golden[f'{name}_t'], monkeypatch)
  np.testing.assert_allclose(made, golden[f'{name}_loss'], rtol=1e-9)


@pytest.mark.parametrize('reduction', REDUCTIONS)
def test_discrete_ddpm(reduction, golden, monkeypatch):
  run = Run(
    process=processes.LinearBetas(levels=LEVELS),
    label=denoising.Linear(factor=LEVELS, offset=-1.0),
  )
  name = f'ddpm_{reduction}'
  t = (golden[f'{name}_labels'] + 1) / LEVELS
  made = run.loss(golden, name, t, monkeypatch)
  np.testing.assert_allclose(made, golden[f'{name}_loss'], rtol=1e-9)


@pytest.mark.parametrize('reduction', REDUCTIONS)
def test_smld(reduction, golden, monkeypatch):
  run = Run(
    process=processes.Ladder(levels=LEVELS, sigma_min=0.02, sigma_max=100.0),
    label=denoising.Linear(factor=-LEVELS, offset=LEVELS),  # from the top
    target=SCORE,
  )  # fmt: skip
  name = f'smld_{reduction}'
  t = (LEVELS - golden[f'{name}_labels']) / LEVELS
  made = run.loss(golden, name, t, monkeypatch)
  np.testing.assert_allclose(made, golden[f'{name}_loss'], rtol=1e-9)
