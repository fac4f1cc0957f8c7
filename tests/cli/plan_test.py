"""`difjax plan`: flags in, a plan out."""

from __future__ import annotations

import json

import pytest

from difjax.evaluation import compiler

CONFIG = '--config=tests/tiny_config.py'


@pytest.mark.parametrize(
  ('argv', 'named'),
  [
    ([], 'plan needs --config=FILE'),
    ([CONFIG, '--topology=v4-33'], 'v4-32'),
    ([CONFIG, '--config.data.batch_size=9'], '8 devices'),
    ([CONFIG, '--config.plan.type=evaluation.Slices'], 'names'),
  ],
)
def test_mistakes(argv, named, refused):
  assert named in refused(2, 'plan', *argv)


def test_without_libtpu_it_says_what_to_install(refused, monkeypatch):
  monkeypatch.setattr(compiler, 'versions', lambda: {'libtpu': None})
  line = refused(2, 'plan', CONFIG, '--topology=v5e-8')
  assert 'pip install difjax[plan]' in line


def test_what_does_not_fit_is_told_what_to_change(refused):
  line = refused(2, 'plan', CONFIG, '--memory=0.0001')
  assert 'does not fit in the memory of a device' in line
  assert 'of 0.0 GiB' in line
  assert 'config.data.batch_size=8 (now 16)' in line


def test_a_plan_of_this_machine(call, tmp_path):
  code, out, err = call(
    'plan', CONFIG, f'--out={tmp_path / "out"}',
    f'--json={tmp_path / "p.json"}',
    f'--record={tmp_path / "table.json"}',
  )  # fmt: skip
  assert code == 0, err
  record = json.loads((tmp_path / 'p.json').read_text())
  assert record == json.loads((tmp_path / 'out' / 'plan.json').read_text())
  assert f'parameters   {record["parameters"]:,}' in out
  assert out.strip() in (tmp_path / 'out' / 'plan.html').read_text()
  assert (tmp_path / 'out' / 'plan.png').read_bytes().startswith(b'\x89PNG')
  (row,) = json.loads((tmp_path / 'table.json').read_text()).values()
  assert row['config'] == 'tiny_config'
  assert row['program'] == record['program']
