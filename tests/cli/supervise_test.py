"""difjax supervise: its flags."""

from __future__ import annotations

import sys

import pytest


def test_the_exit_code_is_the_command_s(call):
  code, _, err = call(
    'supervise', '--backoff=0', '--restarts=1', '--', sys.executable, '-c',
    'import sys; sys.exit(42)',
  )  # fmt: skip
  assert code == 42
  assert 'restart 1 of 1 in 0 s' in err[0]


@pytest.mark.parametrize(
  ('argv', 'told'),
  [
    (['--restarts=3'], '-- and a command'),
    (['--'], '-- and a command'),
    (['--restarts=-1', '--', 'true'], 'restarts'),
    (['true'], 'no flag'),
    (['--', 'difjax', 'train', '--resume_step=3'], 'go back first'),
    (['--', '/nowhere/x'], '/nowhere/x cannot be started'),
  ],
)
def test_mistakes_are_one_line(argv, told, refused):
  assert told in refused(2, 'supervise', *argv)
