import gc
import importlib
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
from difjax.data import images, tar_index, workers
from tests.data import tars


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


def _pipeline(source, count=1, **fields):
  return data.Pipeline(source=source, batch_size=32, workers=count, **fields)


def _batches(pipe, count):
  rows = np.arange(pipe.batch_size)
  place = lambda load, step: load(rows)
  return [batch for _, batch in pipe.batches(0, count, place)]


@pytest.mark.parametrize('transforms', [(), (data.Flip(),)])
def test_batches_are_those_of_threads(folder, transforms):
  source = data.Shards(path=str(folder))
  assert source[3]  # files are open before it is sent
  threads, processes = (
    _pipeline(source, count, transforms=transforms) for count in (0, 2)
  )
  found = _batches(processes, 3)
  assert len(processes._workers._all) == 2
  for own, other in zip(found, _batches(threads, 3), strict=True):
    np.testing.assert_array_equal(own['image'], other['image'])


def test_a_shape_starts_no_process(folder):
  pipe = _pipeline(data.Shards(path=str(folder)))
  assert pipe.shape == (4, 4, 3)
  assert '_workers' not in vars(pipe)


def test_errors_and_replaced_examples_come_back(tmp_path):
  files = tars.samples(4)
  files['2.png'] = b'no image'
  tars.write(tmp_path / '0.tar', files)
  tar_index.write(tmp_path)
  strict = data.Shards(path=str(tmp_path))
  zeros, rows = np.zeros(4, int), np.arange(4)
  with pytest.raises(errors.DataError, match=r'0\.tar/2') as threads:
    strict.take(rows)
  with pytest.raises(errors.DataError) as processes:
    _pipeline(strict)._workers.read(zeros, rows)
  assert str(processes.value) == str(threads.value)
  assert 'shards.py' in processes.value.__notes__[0]  # where it came from
  lenient = _pipeline(data.Shards(path=str(tmp_path), replace_damaged=True))
  assert lenient.replaced == 0
  found = lenient._workers.read(zeros, rows)['image']
  assert found[:, 0, 0, 0].tolist() == [0, 1, 3, 3]
  assert lenient.replaced == 1


def test_a_killed_process_is_an_error(folder):
  found = _pipeline(data.Shards(path=str(folder)))._workers
  zeros, rows = np.zeros(2, int), np.arange(2)
  worker = found._all[0].process
  worker.terminate()  # left to the parent
  found.read(zeros, rows)
  worker.kill()
  worker.wait()
  for _ in range(2):
    with pytest.raises(errors.DataError, match='fewer than workers=1'):
      found.read(zeros, rows)


def test_a_process_that_ends_while_it_starts_is_an_error(folder, monkeypatch):
  monkeypatch.setattr(workers, '_SERVE', 'import os; os._exit(7)')
  large = 'x' * 300_000  # more than a pipe holds
  for path in (str(folder), large):
    with pytest.raises(errors.DataError, match='has ended with code 7'):
      _batches(_pipeline(data.Shards(path=path), 2), 1)


def test_signals_are_held_back_from_the_start(folder):
  process = workers._started()
  process.terminate()
  process.stdin.close()
  assert process.wait(60) == 0
  process.stdout.close()


def test_answers_may_be_larger_than_a_pipe():
  source = data.Synthetic(length=64, height=256, width=256)
  (found,) = _batches(_pipeline(source, 2), 1)
  (own,) = _batches(_pipeline(source, 0), 1)
  assert found['image'].nbytes > 4 * workers.PIPE
  np.testing.assert_array_equal(found['image'], own['image'])


def test_processes_end_with_their_pipeline(folder):
  pipe = _pipeline(data.Shards(path=str(folder)))
  _batches(pipe, 1)
  worker = pipe._workers._all[0].process
  del pipe
  gc.collect()
  assert worker.poll() == -signal.SIGKILL


def _refused(pipe):
  with pytest.raises(errors.ConfigError, match='cannot be sent') as error:
    _batches(pipe, 1)
  assert '\n' not in str(error.value)


_LAB = """
import dataclasses
import sys
from difjax import data, errors

@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(data.Shards):
  def __getitem__(self, i):
    print('read', i, flush=True)
    assert not sys.stdin.read()  # the questions are not there
    return super().__getitem__(i)

class OddError(Exception):
  def __init__(self, one, two):
    super().__init__(f'{one} and {two}')

class Odd(data.Shards):
  def __getitem__(self, i):
    raise OddError('this', 'that')

class OddDataError(errors.DataError):
  def __init__(self, one, two):
    super().__init__(f'{one} or {two}')

class OddData(data.Shards):
  def __getitem__(self, i):
    raise OddDataError('this', 'that')
"""


@pytest.fixture(scope='module')
def lab(folder, tmp_path_factory):
  """A module of the user's, with a source that talks, and the source."""
  place = tmp_path_factory.mktemp('lab')
  (place / 'difjax_lab.py').write_text(_LAB)
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(place)
    module = importlib.import_module('difjax_lab')
    yield module, module.Own(path=str(folder))
  del sys.modules['difjax_lab']


def test_what_cannot_be_sent_is_refused(folder, lab, monkeypatch):
  plain, (module, own) = data.Shards(path=str(folder)), lab
  _refused(_pipeline(plain, transforms=(lambda example, rng: example,)))
  monkeypatch.setattr(sys.modules['__main__'], 'Own', module.Own, raising=False)
  monkeypatch.setattr(module.Own, '__module__', '__main__')
  _refused(_pipeline(own))


def test_what_a_source_prints_is_no_answer(lab, capfd):
  pipe = _pipeline(lab[1])
  assert len(_batches(pipe, 1)[0]['image']) == 32
  out, err = capfd.readouterr()
  assert 'read' not in out
  assert err.count('read') == 32


@pytest.mark.parametrize(
  ('name', 'kind', 'said'),
  [('Odd', Exception, 'this and that'),
   ('OddData', errors.DataError, 'this or that')],
)  # fmt: skip
def test_an_error_that_cannot_be_copied_is_told(lab, name, kind, said):
  module, own = lab
  found = _pipeline(getattr(module, name)(path=own.path))._workers
  for _ in range(3):  # and the next answers are in their place
    with pytest.raises(kind, match=said) as error:
      found.read(np.zeros(2, int), np.arange(2))
    assert type(error.value) is kind
    assert 'difjax_lab.py' in error.value.__notes__[0]


def test_a_module_that_is_nowhere_has_a_line(lab, monkeypatch):
  module, own = lab
  monkeypatch.setitem(sys.modules, 'difjax_gone', module)
  monkeypatch.setattr(module.Own, '__module__', 'difjax_gone')
  with pytest.raises(errors.ConfigError, match="No module named 'difjax_gone'"):
    _batches(_pipeline(own, 2), 1)


_ORPHAN = """
import json, sys, time
import numpy as np
from difjax import data

pipe = data.Pipeline(
  source=data.Shards(path=sys.argv[1]), batch_size=2, workers=1
)
rows = np.arange(2)
next(pipe.batches(0, None, lambda load, step: load(rows)))
(worker,) = pipe._workers._all
print(json.dumps([worker.process.pid]), flush=True)
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
