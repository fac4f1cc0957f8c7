"""The official config: what it may say, and one line where it may not."""

import numpy as np
import pytest

from difjax import errors
from difjax.interop import score_sde_settings


def _settings(**model):
  return score_sde_settings.Settings({'config': {'model': model}}, {})


@pytest.mark.parametrize(
  ('value', 'found'),
  [
    (True, True), (np.False_, False), ('false', False), ('True', True),
    (1, True),
  ],
)  # fmt: skip
def test_flags(value, found):
  assert _settings(fir=value).flag('model.fir') is found


@pytest.mark.parametrize(
  ('kind', 'value'),
  [
    ('flag', 'maybe'), ('flag', None), ('count', 'many'), ('count', None),
    ('count', 1.5), ('count', -1), ('number', 'a'), ('number', np.nan),
    ('counts', 4), ('counts', '1,2'), ('counts', [1.5]),
  ],
)  # fmt: skip
def test_a_wrong_value_names_its_key(kind, value):
  with pytest.raises(errors.ConfigError, match=r'model\.nf is .* config'):
    getattr(_settings(nf=value), kind)('model.nf')


def test_numbers():
  assert _settings(nf='16').count('model.nf') == 16
  assert _settings(nf=(1, np.int64(2))).counts('model.nf') == (1, 2)
  assert _settings(nf='1e-3').number('model.nf') == 1e-3


def test_a_section_must_be_one():
  settings = score_sde_settings.Settings({'model': 'ddpm'}, {})
  with pytest.raises(errors.ConfigError, match=r'model is .ddpm.'):
    settings['model.name']


@pytest.mark.parametrize(
  ('config', 'named'),
  [
    ({'model': {'nff': 128}}, "no 'model.nff'; did you mean 'model.nf'"),
    ({'modle': {'nf': 128}}, "no 'modle'; did you mean 'model'"),
    ({'training': {'sdes': 'vesde'}}, "did you mean 'training.sde'"),
    ({'data': {'xyz': 1}}, "has no 'data.xyz'$"),
  ],
)
def test_a_misspelt_key_is_named(config, named):
  with pytest.raises(errors.ConfigError, match=named):
    score_sde_settings.Settings(config, {})


def test_official_keys_that_are_not_used_pass():
  config = {
    'seed': 42, 'optim': {'lr': 2e-4, 'warmup': 5000},
    'sampling': {'snr': 0.16}, 'evaluate': {'begin_ckpt': 1},
    'training': {'n_jitted_steps': 5, 'snapshot_freq': 50000},
    'data': {'tfrecords_path': '/x'}, 'model': {'ema_rate': 0.999},
  }  # fmt: skip
  assert score_sde_settings.Settings(config, {})['model.ema_rate'] == 0.999
