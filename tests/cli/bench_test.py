"""`difjax bench`: flags in, ratios out."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from difjax.cli import suite
from difjax.evaluation import bench, checkpoint_bench, input_bench, ode_bench
from difjax.evaluation import suite as suites
from tests import tiny

CONFIG = '--config=tests/tiny_config.py'
ALL = '--config=tests/tiny_benchmarks.py'


@pytest.mark.parametrize(
  ('argv', 'named'),
  [
    ([], 'bench needs --config=FILE'),
    ([CONFIG, '--steps=0'], 'steps'),
    ([CONFIG, '--config.stpes=3'], "did you mean 'steps'"),
    ([CONFIG, '--workdir=run'], 'bench needs --config=FILE'),
    ([ALL, '--readme=tests/tiny.py'], 'has no lines <!-- difjax bench'),
    ([ALL, '--part=inptu'], "no benchmark 'inptu'; there are: input, far"),
  ],
)
def test_mistakes(argv, named, refused):
  assert named in refused(2, 'bench', *argv)


def test_it_prints_ratios_and_their_figures(call, monkeypatch):
  seen = []

  def loop_overhead(trainer, steps, rounds):
    seen.append((trainer.data.batch_size, steps, rounds))
    return {'loop_ms': 2.0, 'bare_ms': 1.6, 'ratio': 1.25}

  def sampling_overhead(trainer, sampler, rounds):
    seen.append((sampler.grid.steps, rounds))
    return {'sampler_ms': 3.0, 'ratio': 1.5}

  monkeypatch.setattr(bench, 'loop_overhead', loop_overhead)
  monkeypatch.setattr(bench, 'sampling_overhead', sampling_overhead)
  code, out, err = call(
    'bench', CONFIG, '--steps=3', '--rounds=2', '--config.data.batch_size=8'
  )
  assert (code, err) == (0, [])
  assert seen == [(8, 3, 2), (4, 2)]
  *ratios, figures = out.splitlines()
  assert ratios == ['loop: 1.250', 'sampling: 1.500']
  assert json.loads(figures)['loop']['bare_ms'] == 1.6


def test_checkpoints_alone_where_a_step_is_timed_elsewhere(call, monkeypatch):
  seen = []

  def stall(trainer, saves, step_ms):
    seen.append((trainer.checkpoints.every, saves, step_ms))
    return {'blocked_s': 0.5, 'ratio': 0.25}

  monkeypatch.setattr(checkpoint_bench, 'stall', stall)
  code, out, _ = call('bench', CONFIG, '--saves=2', '--step_ms=80')
  assert code == 0
  assert seen == [(6, 2, 80.0)]
  ratio, figures = out.splitlines()
  assert ratio == 'checkpoint: 0.250'
  assert json.loads(figures) == {
    'checkpoint': {'blocked_s': 0.5, 'ratio': 0.25}
  }


def test_of_a_run_it_prints_time_and_work_and_writes_both(
  trained, tmp_path, call, monkeypatch
):
  seen = []

  def wall_clock(model, rounds, size):
    seen.append((model.step, rounds, size))
    return {'ratio': 1.05}

  def work(model, size):
    seen.append(size)
    line = ode_bench.Curve((1e-2, 1e-4), (20, 40))
    return ode_bench.Work(line, line, ode_bench.Curve(line.errors, (40, 80)))

  monkeypatch.setattr(ode_bench, 'wall_clock', wall_clock)
  monkeypatch.setattr(ode_bench, 'work', work)
  code, out, err = call(
    'bench', f'--workdir={trained}', '--rounds=2', '--images=3',
    f'--out={tmp_path}/out',
  )  # fmt: skip
  assert (code, err) == (0, [])
  assert seen == [(4, 2, 3), 3]
  *ratios, figures = out.splitlines()
  assert ratios == ['ode: 1.050', 'work: 0.500']
  written = json.loads((tmp_path / 'out' / 'bench.json').read_text())
  assert written == json.loads(figures)
  assert written['work']['scipy_evaluations'] == [40, 80]
  picture = tmp_path / 'out' / 'work_precision.png'
  assert picture.read_bytes().startswith(b'\x89PNG')


def test_of_tars_it_prints_the_ratio_or_what_is_missing(call, monkeypatch):
  seen = []
  figures = iter([{'ratio': 1.5}, {'missing': 'pip install it'}])

  def compare(*args):
    seen.append(args)
    return next(figures)

  monkeypatch.setattr(input_bench, 'compare', compare)
  line = ('bench', '--shards=tars', '--size=8', '--steps=3', '--rounds=2')
  assert call(*line)[1].splitlines()[0] == 'input: 1.500'
  assert call(*line)[1].splitlines()[0] == 'input: pip install it'
  assert seen == [('tars', 8, 3, 2)] * 2


def test_one_of_all_benchmarks_is_a_line_of_json(call):
  code, out, err = call('bench', ALL, '--part=input', '--rounds=3')
  assert (code, err) == (0, [])
  (figure,) = json.loads(out)['figures']
  assert len(figure['ours']['rounds']) == 3
  code, out, _ = call('bench', ALL, '--part=far')
  assert json.loads(out) == {'skipped': 'needs tpu, and this is a cpu'}
  assert code == 0


def test_all_benchmarks_are_processes_and_one_table(
  call, tmp_path, monkeypatch
):
  """One of two is described wrongly, then both are well."""
  readme, out = tmp_path / 'README.md', tmp_path / 'out'
  readme.write_text('\n'.join(suites.MARKS))
  seen = []

  def child(command, seconds):
    seen.append(command)
    assert seconds == 60 * 2
    if len(seen) == 1:
      return {'failed': 'a reason'}
    code, printed, _ = call(*command[3:])
    assert code == 0
    return json.loads(printed)

  def run(*argv):
    code = call('bench', ALL, '--rounds=1', f'--out={out}', *argv)[0]
    return code, json.loads((out / 'bench.json').read_text())

  monkeypatch.setattr(suite, 'child', child)
  code, found = run()
  assert code == 1
  assert found['parts']['input'] == {'failed': 'a reason'}
  code, found = run(f'--readme={readme}')
  assert code == 0
  assert set(found['parts']) == {'input', 'far'}
  assert found['parts']['input']['figures']
  assert seen[0][:4] == [sys.executable, '-m', 'difjax', 'bench']
  assert [command[-1][7:] for command in seen] == [
    'input', 'far', 'input', 'far'
  ]  # fmt: skip
  assert '| input: digits |' in readme.read_text()


def python(code):
  return [sys.executable, '-c', code]


@pytest.mark.parametrize(
  ('code', 'failed'),
  [
    ('import sys; sys.exit("warned\\ndifjax bench: a line")', 'a line'),
    ('import sys; sys.exit(3)', 'code 3'),
    ('import os; os.kill(os.getpid(), 9)', 'ended by SIGKILL'),
    ('import time; time.sleep(600)', 'not done after 0.0'),
  ],
)
def test_a_process_that_fails_is_a_line(code, failed):
  limit = 1.5 if 'sleep' in code else 60
  record = suite.child(python(code), limit)
  assert list(record) == ['failed']
  assert failed in record['failed']


def test_a_process_takes_with_it_what_it_started(tmp_path):
  code = f"""
import subprocess, sys, pathlib
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))
print('words')
print('{{"figures": []}}')
"""
  assert suite.child(python(code), 30) == {'figures': []}
  assert _gone(int((tmp_path / 'pid').read_text()))


def _gone(pid):
  for _ in range(100):
    try:
      os.kill(pid, 0)
    except ProcessLookupError:
      return True
    stat = pathlib.Path(f'/proc/{pid}/stat')
    if stat.exists() and stat.read_text().rpartition(')')[2].split()[0] == 'Z':
      return True
    time.sleep(0.05)
  return False


@pytest.mark.slow
def test_killed_and_started_again_it_goes_on(tmp_path):
  command = [
    sys.executable, '-m', 'difjax', 'bench', ALL, '--rounds=1',
    f'--out={tmp_path}',
  ]  # fmt: skip
  file = tmp_path / 'bench.json'
  with subprocess.Popen(command, cwd=tiny.ROOT) as first:
    while not file.exists():
      time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 130
  before = json.loads(file.read_text())['parts']
  assert list(before) == ['input']
  subprocess.run(command, cwd=tiny.ROOT, check=True)
  after = json.loads(file.read_text())['parts']
  assert list(after) == ['input', 'far']
  assert after['input'] == before['input']
