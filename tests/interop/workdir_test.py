"""Work directories of imported models."""

from __future__ import annotations

import numpy as np
import pytest

from difjax import config as configs
from difjax import errors, sampling
from difjax.interop import base, workdir


def built(kind, **fields):
  """Builds the sampler for a process, as `difjax sample` will."""
  spec = workdir.sampler({'type': kind, **fields})
  return configs.build(spec, trusted=False)


@pytest.mark.parametrize(
  ('kind', 'evaluations'),
  [
    ('processes.VP', 1000),
    ('processes.SubVP', 1000),
    ('processes.VE', 2000),
  ],
)
def test_continuous_processes(kind, evaluations):
  """The paper's: 1,000 steps; a correction doubles the evaluations."""
  sampler = built(kind)
  process = configs.build({'type': kind})
  times = sampler.grid(process)
  assert len(times) == 1000 and times[0] == 1.0
  assert times[-1] == (1e-5 if evaluations > 1000 else 1e-3)
  parts = vars(sampler)
  rules = [parts[key] for key in ('solver', 'predictor', 'corrector')
           if key in parts]  # fmt: skip
  assert 1000 * sum(rule.evaluations for rule in rules) == evaluations


def test_tabulated_processes_take_every_level():
  for kind in ('processes.LinearBetas', 'processes.Ladder'):
    process = configs.build({'type': kind, 'levels': 50})
    times = built(kind, levels=50).grid(process)
    np.testing.assert_allclose(times, np.arange(50, 0, -1) / 50)


def test_settings_of_sampling_go_before_the_papers():
  found = base.Converted(
    spec={'process': {'type': 'processes.LinearBetas', 'levels': 10}},
    network={}, params={}, info={}, sampler={'type': 'sampling.X'},
  )  # fmt: skip
  assert workdir.complete(found, {})['sampler'] == {'type': 'sampling.X'}
  assert workdir.complete(found, {'sampler': 'mine'})['sampler'] == 'mine'


def test_the_snr_of_the_paper():
  assert built('processes.VE').corrector == sampling.Langevin(snr=0.16)


def test_other_processes_are_integrated():
  assert built('processes.RectifiedFlow').rtol == 1e-4


def test_a_range_that_images_do_not_have(tmp_path):
  found = base.Converted(
    spec={}, network={}, params={}, info={'data_range': (0, 1)}
  )
  with pytest.raises(errors.ConfigError, match=r'images in \[0, 1\]'):
    workdir.write(tmp_path / 'run', tmp_path / 'a.pth', found, {})
  assert not list(tmp_path.iterdir())


def test_what_an_experiment_says_goes_first():
  process = {'type': 'processes.VE'}
  found = base.Converted(
    spec={'process': process}, network={}, params={}, info={}
  )
  config = workdir.complete(found, {'sampler': 'mine', 'steps': 3})
  assert config['sampler'] == 'mine' and config['steps'] == 3
  assert config['ema']['main']['rate'] == 0.999
  assert config['objective'] == found.spec


