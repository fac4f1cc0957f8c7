"""`difjax evaluate`: what it writes, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from difjax import errors
from difjax.cli import train
from tests import tiny_config

PART = '--evaluation.bits'


def test_writes_figures_and_arrays(copied, call):
  code, out, err = call(
    'evaluate', f'--workdir={copied}', f'{PART}.type=evaluation.Likelihood',
    f'{PART}.source.type=data.Digits', f'{PART}.source.split=test',
    f'{PART}.images=3', f'{PART}.size=3', f'{PART}.rtol=1e-2',
    f'{PART}.atol=1e-2',
  )  # fmt: skip
  assert code == 0, err
  figures = json.loads((copied / 'evaluation' / 'bits.json').read_text())
  with np.load(copied / 'evaluation' / 'bits.npz') as arrays:
    assert arrays['bits_per_dim'].shape == (1, 3)
    mean = arrays['bits_per_dim'].mean()
  assert abs(figures['bits_per_dim'] - mean) < 1e-9
  assert (figures['images'], figures['step']) == (3, 4)
  assert out.startswith('bits\n')
  assert f'{mean:.6g}' in out


def test_mistakes(trained, refused):
  assert '--workdir=DIR' in refused(2, 'evaluate')
  workdir = f'--workdir={trained}'
  assert 'has no evaluation' in refused(2, 'evaluate', workdir)
  line = refused(2, 'evaluate', workdir, '--only=fid', f'{PART}.type=x')
  assert "no evaluation 'fid'; there are: bits" in line
  line = refused(2, 'evaluate', workdir, f'{PART}.type=evaluation.Likelyhood')
  assert "did you mean 'Likelihood'" in line


def test_training_checks_the_evaluation_and_leaves_it_alone():
  spec = tiny_config.get_config().to_dict()
  part = {'type': 'evaluation.Likelihood', 'source': {'type': 'data.Digits'}}
  spec['evaluation'] = {'bits': part, 'order': ('bits',)}
  assert train.build(spec).steps == spec['steps']
  part['images'] = 'many'
  with pytest.raises(errors.ConfigError, match=r'evaluation\.bits\.images'):
    train.build(spec)
