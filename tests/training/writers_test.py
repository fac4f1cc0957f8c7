"""Where metrics go: files that survive a crash, and lines for people."""

from __future__ import annotations

import io
import json
import re
import struct

import numpy as np
import pytest

from difjax.training import writers

VALUES = {'train/loss': 0.12345, 'perf/images_per_s': 1234.0,
          'perf/steps_per_s': 4.0}  # fmt: skip


def lines(workdir):
  return (workdir / 'metrics.jsonl').read_text().splitlines()


def write(workdir, start, steps):
  writer = writers.JsonLines(workdir, start)
  for step in steps:
    writer.scalars(step, {'loss': step / 3})
  writer.close()


def test_an_object_a_line(tmp_path):
  write(tmp_path, 0, [5, 10])
  assert [json.loads(line) for line in lines(tmp_path)] == [
    {'step': 5, 'loss': 5 / 3}, {'step': 10, 'loss': 10 / 3}
  ]  # fmt: skip
  assert writers.read_metrics(tmp_path)[1] == {'step': 10, 'loss': 10 / 3}


def test_a_row_is_there_before_the_file_is_closed(tmp_path):
  writer = writers.JsonLines(tmp_path, 0)
  writer.scalars(1, {'loss': 1.0})
  assert len(lines(tmp_path)) == 1
  writer.close()


def test_a_restart_drops_what_came_after_it(tmp_path):
  write(tmp_path, 0, range(1, 11))
  write(tmp_path, 6, [7, 8])
  found = [row['step'] for row in writers.read_metrics(tmp_path)]
  assert found == list(range(1, 9))


@pytest.mark.parametrize('torn', ['{"step": 4, "lo', '{"step": 4}garbage', '{'])
def test_a_torn_last_line_is_left_out(torn, tmp_path):
  write(tmp_path, 0, [1, 2, 3])
  with (tmp_path / 'metrics.jsonl').open('a') as stream:
    stream.write(torn)
  assert [r['step'] for r in writers.read_metrics(tmp_path)] == [1, 2, 3]
  write(tmp_path, 3, [4])
  assert [json.loads(line)['step'] for line in lines(tmp_path)] == [1, 2, 3, 4]


def test_no_metrics_yet(tmp_path):
  assert writers.read_metrics(tmp_path) == []


def test_numbers_that_are_not_finite_come_back(tmp_path):
  writer = writers.JsonLines(tmp_path, 0)
  writer.scalars(1, {'loss': float('nan')})
  writer.close()
  assert np.isnan(writers.read_metrics(tmp_path)[0]['loss'])


def shown(console, steps):
  for step in steps:
    console.scalars(step, VALUES)
  console.close()
  return console.stream.getvalue()


def test_plain_lines_at_once_then_soon_then_one_a_minute(monkeypatch):
  clock = iter(range(0, 10_000, 4))  # a row every four seconds
  monkeypatch.setattr(writers.time, 'monotonic', lambda: float(next(clock)))
  console = writers.Console(total=2000, stream=io.StringIO())
  text = shown(console, range(1, 60))
  seconds = [4 * int(n) - 4 for n in re.findall(r'step (\d+)/', text)]
  # Every third row is 12 s after the last line; from 60 s on every fifteenth.
  assert seconds == [0, 12, 24, 36, 48, 108, 168, 228]


def test_what_a_line_says():
  console = writers.Console(total=2000, stream=io.StringIO())
  assert shown(console, [300]).splitlines() == [
    'step 300/2,000  loss 0.1235  1,234 images/s  ETA 07:05'
  ]


def test_mfu_and_skipped_steps_where_there_are_some():
  for terminal in (False, True):
    stream = Terminal() if terminal else io.StringIO()
    console = writers.Console(total=2000, stream=stream)
    console.scalars(
      300, {**VALUES, 'perf/mfu': 0.4123, 'train/skipped': 3.0}
    )
    console.close()
    text = stream.getvalue()
    assert 'loss 0.1235  1,234 images/s  MFU 41.2%  3 skipped' in text
  console = writers.Console(total=2000, stream=io.StringIO())
  console.scalars(300, {**VALUES, 'train/skipped': 0.0})
  assert 'skipped' not in console.stream.getvalue()


def test_the_last_line_is_always_shown():
  console = writers.Console(total=70, early=1e9, stream=io.StringIO())
  assert shown(console, [50, 60, 70]).splitlines() == [
    'step 50/70  loss 0.1235  1,234 images/s  ETA 00:05',
    'step 70/70  loss 0.1235  1,234 images/s  ETA 00:00',
  ]


class Terminal(io.StringIO):
  """A stream that calls itself a terminal."""

  def isatty(self):
    """Says so."""
    return True


def test_a_bar_on_a_terminal():
  console = writers.Console(total=80, step=20, stream=Terminal())
  text = shown(console, [40, 60, 80])
  assert '\r' in text
  assert '80/80' in text
  assert '20/80' in text  # where a run that goes on begins
  assert 'loss 0.1235' in text
  assert '1,234 images/s' in text


def records(workdir):
  """Splits event files into their records: length, crc, data, crc."""
  found = []
  for file in sorted((workdir / 'tensorboard').iterdir()):
    data, at = file.read_bytes(), 0
    while at < len(data):
      (length,) = struct.unpack_from('<Q', data, at)
      found.append(data[at + 12 : at + 12 + length])
      at += 16 + length
    assert at == len(data)
  return found


def test_event_files(tmp_path):
  writer = writers.TensorBoard(tmp_path, 0)
  writer.scalars(7, {'train/loss': 0.5})
  picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
  writer.image(7, 'samples', picture)
  writer.close()
  # Field 2 of an event is its step: tag 0x10, then 7.
  events = [r for r in records(tmp_path) if b'\x10\x07' in r]
  scalar = [r for r in events if b'train/loss' in r]
  assert len(scalar) == 1
  # Field 2 of a value is the number: tag 0x15, then a float32.
  assert b'\x15' + struct.pack('<f', 0.5) in scalar[0]
  (image,) = [r for r in events if b'samples' in r]
  assert b'\x89PNG' in image


def test_event_files_forget_what_came_after_a_restart(tmp_path):
  writers.TensorBoard(tmp_path, 0).close()
  writer = writers.TensorBoard(tmp_path, 9)
  writer.scalars(10, {'train/loss': 1.0})
  writer.close()
  # The session log START (field 7, status 1) at step 10 purges from 10 on.
  purge = [r for r in records(tmp_path) if b'\x10\x0a' in r and b'\x3a' in r]
  assert purge


def test_pictures_are_left_to_others(tmp_path):
  picture = np.zeros((2, 2, 1), np.uint8)
  console = writers.Console(total=2, stream=io.StringIO())
  console.image(1, 'samples', picture)
  assert console.stream.getvalue() == ''
  json_lines = writers.JsonLines(tmp_path, 0)
  json_lines.image(1, 'samples', picture)
  json_lines.close()
  assert lines(tmp_path) == []
