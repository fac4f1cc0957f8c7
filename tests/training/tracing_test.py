"""Which steps are traced: those of the config, and when a file asks."""

from __future__ import annotations

import itertools

import jax
import pytest

from difjax import training
from difjax.training import tracing
from tests import tiny


@pytest.fixture
def calls(monkeypatch):
  """Notes what the profiler and the device are told, and traces nothing."""
  found = []
  clock = itertools.count(0, 10)
  monkeypatch.setattr(tracing.time, 'monotonic', lambda: next(clock))
  monkeypatch.setattr(
    jax.profiler, 'start_trace', lambda path: found.append(('start', path))
  )
  monkeypatch.setattr(
    jax.profiler, 'stop_trace', lambda: found.append(('stop',))
  )
  monkeypatch.setattr(
    jax, 'block_until_ready', lambda arrays: found.append(('wait', arrays))
  )
  return found


def steps(tracer, first, last):
  for done in range(first, last + 1):
    tracer.push(done, done)


def test_a_range_of_steps(calls, tmp_path):
  tracer = tracing.Tracer(tracing.Profile(first=3, steps=2), tmp_path, 0)
  steps(tracer, 1, 1)
  assert calls == []
  steps(tracer, 2, 2)  # between the second step and the third
  assert calls == [('start', str(tmp_path / 'traces' / '3'))]
  steps(tracer, 3, 9)
  assert calls[1:] == [('wait', 4), ('stop',)]


def test_the_first_step(calls, tmp_path):
  tracer = tracing.Tracer(tracing.Profile(first=1, steps=1), tmp_path, 0)
  assert calls == [('start', str(tmp_path / 'traces' / '1'))]
  steps(tracer, 1, 5)
  assert calls[1:] == [('wait', 1), ('stop',)]


def test_a_run_that_begins_behind_the_range(calls, tmp_path):
  tracer = tracing.Tracer(tracing.Profile(first=3, steps=2), tmp_path, 3)
  steps(tracer, 4, 9)
  assert calls == []


def test_a_file_asks_again_and_again(calls, tmp_path):
  tracer = tracing.Tracer(tracing.Profile(steps=2), tmp_path, 0)
  steps(tracer, 1, 4)
  assert calls == []
  for asked in (5, 12):
    (tmp_path / 'profile').touch()
    steps(tracer, asked, asked + 5)
    assert not (tmp_path / 'profile').exists()
    assert calls == [
      ('start', str(tmp_path / 'traces' / str(asked + 1))),
      ('wait', asked + 2), ('stop',),
    ]  # fmt: skip
    calls.clear()


def test_it_looks_for_the_file_now_and_then(calls, tmp_path, monkeypatch):
  seconds = itertools.count(0, 0.5)
  monkeypatch.setattr(tracing.time, 'monotonic', lambda: next(seconds))
  tracer = tracing.Tracer(tracing.Profile(steps=1), tmp_path, 0)
  (tmp_path / 'profile').touch()
  steps(tracer, 1, 3)
  assert calls == []
  steps(tracer, 4, 4)  # two seconds after the first look
  assert [call[0] for call in calls] == ['start']


def test_other_processes_do_not_look(calls, tmp_path, monkeypatch):
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  (tmp_path / 'profile').touch()
  steps(tracing.Tracer(tracing.Profile(), tmp_path, 0), 1, 9)
  assert calls == []


def test_the_end_of_a_run_ends_a_trace(calls, tmp_path):
  tracer = tracing.Tracer(tracing.Profile(first=2, steps=99), tmp_path, 0)
  steps(tracer, 1, 3)
  tracer.close()
  tracer.close()
  assert calls[1:] == [('stop',)]


def test_a_profiler_that_is_busy_stops_no_run(calls, tmp_path, monkeypatch):

  def busy(path):
    raise RuntimeError('one profile at a time')

  monkeypatch.setattr(jax.profiler, 'start_trace', busy)
  tracer = tracing.Tracer(tracing.Profile(first=1), tmp_path, 0)
  steps(tracer, 1, 9)
  assert calls == []


@pytest.mark.parametrize('fields', [{'steps': 0}, {'first': 0}])
def test_ranges_that_are_none_are_refused(fields):
  with pytest.raises(ValueError, match='must be above 0'):
    tracing.Profile(**fields)


def test_a_run_leaves_a_trace_of_its_steps(tmp_path):
  """Steps bear the name and the number that xprof groups them by."""
  trainer = tiny.mean_trainer(
    steps=6, profile=training.Profile(first=3, steps=2), mesh=tiny.OneDevice()
  )
  training.train(trainer, tmp_path)
  assert [path.name for path in (tmp_path / 'traces').iterdir()] == ['3']
  (file,) = (tmp_path / 'traces').rglob('*.xplane.pb')
  trace = jax.profiler.ProfileData.from_file(str(file))
  numbers = {
    dict(event.stats)['step_num']
    for plane in trace.planes
    for line in plane.lines
    for event in line.events
    if event.name == 'train'
  }
  assert numbers == {3, 4}
