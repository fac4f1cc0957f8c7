import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from difjax import data, errors
from difjax.data import images, tar_index
from tests.data import tars

COUNT = 40


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Forty images of random numbers in two shards."""
  found = tmp_path_factory.mktemp('tars')
  rng = np.random.default_rng(0)
  for k in range(2):
    pixels = rng.integers(0, 256, (20, 4, 4, 3), np.uint8)
    tars.write(found / f'{k}.tar', {
      f'{20 * k + i}.png': images.encode_png(pixels[i]) for i in range(20)
    })  # fmt: skip
  tar_index.write(found)
  return found


@pytest.fixture(scope='module')
def pair(folder):
  """Shards that were read from, and a process that reads them."""
  plain = data.Shards(path=str(folder))
  assert plain[3]  # files are open before it is sent
  return plain, data.Workers(source=plain, count=1)


@pytest.mark.parametrize('transforms', [(), (data.Flip(),)])
def test_batches_are_those_of_threads(pair, transforms):
  rows = np.arange(32)

  def batches(count):
    pipe = data.Pipeline(
      source=pair[0], batch_size=32, seed=5, transforms=transforms,
      workers=count,
    )  # fmt: skip
    assert type(pipe.reader) is type(pair[count])
    return list(pipe.batches(0, 3, lambda load, step: load(rows)))

  for (step, own), (_, other) in zip(batches(0), batches(1), strict=True):
    np.testing.assert_array_equal(own['image'], other['image'], str(step))


def test_everything_else_is_the_sources(pair):
  plain, processes = pair
  assert len(processes) == COUNT
  for name in ('shape', 'num_classes', 'class_names', 'chunks', 'stored_bytes'):
    assert getattr(processes, name) == getattr(plain, name)
  assert processes.fingerprint() == plain.fingerprint()
  np.testing.assert_array_equal(processes[7]['image'], plain[7]['image'])


def test_errors_and_replaced_examples_come_back(tmp_path):
  files = tars.samples(4)
  files['2.png'] = b'no image'
  tars.write(tmp_path / '0.tar', files)
  tar_index.write(tmp_path)
  strict = data.Shards(path=str(tmp_path))
  with pytest.raises(errors.DataError, match=r'0\.tar/2') as threads:
    strict.take(np.arange(4))
  with pytest.raises(errors.DataError) as processes:
    data.Workers(source=strict, count=1).take(np.arange(4))
  assert str(processes.value) == str(threads.value)
  lenient = data.Workers(
    source=data.Shards(path=str(tmp_path), replace_damaged=True), count=1
  )
  assert lenient.replaced == 0
  found = lenient.take(np.arange(4))['image']
  assert found[:, 0, 0, 0].tolist() == [0, 1, 3, 3]
  assert lenient.replaced == 1


def test_a_killed_process_is_an_error(folder):
  found = data.Workers(source=data.Shards(path=str(folder)), count=1)
  found.take(np.arange(2))
  (worker,) = found._pool._processes
  os.kill(worker, signal.SIGTERM)  # left to the parent
  found.take(np.arange(2))
  os.kill(worker, signal.SIGKILL)
  with pytest.raises(errors.DataError, match='fewer than count=1'):
    for _ in range(100):  # until the executor sees it
      found.take(np.arange(2))
      time.sleep(0.1)


def test_no_count_is_refused(folder):
  with pytest.raises(errors.ConfigError, match='count=0'):
    data.Workers(source=data.Shards(path=str(folder)), count=0)


_ORPHAN = """
import json, sys, time
import numpy as np
from difjax import data

if __name__ == '__main__':
  found = data.Workers(source=data.Shards(path=sys.argv[1]), count=1)
  found.take(np.arange(2))
  print(json.dumps(list(found._pool._processes)), flush=True)
  time.sleep(600)
"""


def test_processes_end_with_a_killed_parent(folder, tmp_path):
  script = tmp_path / 'parent.py'
  script.write_text(_ORPHAN)
  root = pathlib.Path(__file__).parents[2]
  parent = subprocess.Popen(
    [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE,
    env={**os.environ, 'PYTHONPATH': str(root)},
  )  # fmt: skip
  (worker,) = json.loads(parent.stdout.readline())
  os.kill(worker, 0)  # it is there
  parent.kill()
  parent.wait()
  until = time.monotonic() + 30
  while time.monotonic() < until and pathlib.Path(f'/proc/{worker}').exists():
    time.sleep(0.1)
  assert not pathlib.Path(f'/proc/{worker}').exists()
