"""difjax goodput: the account of a run that was trained."""

from __future__ import annotations

import json

import pytest


def test_the_parts_sum_to_the_wall_time(trained, call):
  code, out, err = call('goodput', f'--workdir={trained}', '--json')
  assert (code, err) == (0, [])
  found = json.loads(out)
  total = sum(found['parts'].values())
  assert total == pytest.approx(found['wall'], rel=0.02)
  assert found['steps'] == 4
  assert found['exits'] == [0]
  for part in ('compile', 'productive', 'restore', 'save', 'init'):
    assert found['parts'][part] > 0
  assert found['parts']['wasted'] == found['parts']['down'] == 0


def test_lines_for_people(trained, call):
  _, out, _ = call('goodput', f'--workdir={trained}')
  assert 'exit codes 0' in out
  assert 'remainder' in out


def test_a_folder_without_a_run_is_refused(refused, tmp_path):
  assert 'no events.jsonl' in refused(2, 'goodput', f'--workdir={tmp_path}')
  refused(2, 'goodput')
