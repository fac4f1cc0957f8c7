import json
import os
import threading

import numpy as np
import pytest

from difjax import errors
from difjax.data import mapped, pipeline, shards, source, tar_index
from tests.data import tars
from tests.training import jobs

SIZES = (7, 1, 11, 5)


@pytest.fixture
def folder(tmp_path):
  """24 samples in four shards; the image of sample i is filled with i."""
  first = 0
  for k, size in enumerate(SIZES):
    tars.write(tmp_path / f'{k}.tar', tars.samples(size, first=first))
    first += size
  tar_index.write(tmp_path)
  return tmp_path


def rewrite(folder, **changes):
  """Writes the first shard again with some files replaced, None: left out."""
  files = tars.samples(SIZES[0])
  for name, data in changes.items():
    stem, _, suffix = name.lstrip('_').partition('_')
    files[f'{stem}.{suffix}'] = data
  files = {name: data for name, data in files.items() if data is not None}
  tars.write(folder / '0.tar', files)
  tar_index.write(folder)


def values(examples):
  return examples['image'][:, 0, 0, 0].tolist()


def test_examples_are_read_in_any_order(folder):
  found = shards.Shards(path=str(folder))
  assert len(found) == 24
  assert found.shape == (4, 4, 3)
  assert found.chunks == SIZES
  order = np.random.default_rng(0).permutation(24)
  assert values(found.take(order)) == order.tolist()
  assert set(found[0]) == {'image'}
  assert found.num_classes == 0
  mean = np.mean([len(tars.png(i)) for i in range(24)])
  assert found.stored_bytes == pytest.approx(mean)
  small = shards.Shards(path=str(folder), size=2, channels=1)
  assert small.shape == small[3]['image'].shape == (2, 2, 1)


@pytest.mark.parametrize('label', ['cls', 'json.class'])
def test_classes_come_from_either_file(folder, label):
  found = shards.Shards(path=str(folder), label=label, classes=5)
  labels = found.take(np.arange(24))['label']
  assert labels.tolist() == [i % 5 for i in range(24)]
  assert labels.dtype == np.int32
  assert found.num_classes == 5


@pytest.mark.parametrize(
  ('label', 'classes'),
  [('cls', 0), (None, 3), ('txt', 3), ('json', 3), ('cls.x', 3)],
)
def test_fields_that_do_not_fit_are_refused(label, classes):
  with pytest.raises(errors.ConfigError, match='label='):
    shards.Shards(path='x', label=label, classes=classes)


@pytest.mark.parametrize(
  ('changes', 'label', 'named'),
  [
    ({'_2_png': b'no image'}, None, 'not a readable image'),
    ({'_2_png': tars.png(2)[:40]}, None, 'not a readable image'),
    ({'_2_cls': None}, 'cls', 'no cls'),
    ({'_2_cls': b'cat'}, 'cls', 'no class'),
    ({'_2_cls': b'5'}, 'cls', 'not below classes=5'),
    ({'_2_json': b'{"class": -1}'}, 'json.class', 'not below'),
    ({'_2_json': b'{"class": true}'}, 'json.class', 'no whole number'),
    ({'_2_json': b'[' * 100_000}, 'json.class', 'no class'),
    ({'_2_json': b'{}'}, 'json.class', 'no class'),
  ],
)
def test_a_damaged_sample_is_named_or_replaced(folder, changes, label, named):
  rewrite(folder, **changes)
  fields = {'path': str(folder), 'label': label, 'classes': 5 if label else 0}
  with pytest.raises(errors.DataError, match=named) as e:
    shards.Shards(**fields).take(np.arange(24))
  assert f'{folder}/0.tar/2' in str(e.value)
  found = shards.Shards(**fields, replace_damaged=True)
  for _ in range(2):
    expected = [3 if i == 2 else i for i in range(24)]
    assert values(found.take(np.arange(24))) == expected
  assert found.replaced == 1


def test_a_damaged_first_sample_and_a_run_of_them(folder):
  rewrite(folder, _0_png=b'0', _1_png=b'1')
  found = shards.Shards(path=str(folder), replace_damaged=True)
  assert found.shape == (4, 4, 3)
  assert values(found.take(np.arange(3))) == [2, 2, 2]
  assert found.replaced == 2
  for k, size in enumerate(SIZES):
    tars.write(folder / f'{k}.tar', {f'{i}.png': b'?' for i in range(size)})
  tar_index.write(folder)
  with pytest.raises(errors.DataError, match='no sound sample'):
    shards.Shards(path=str(folder), replace_damaged=True)[3]


def test_what_is_no_damage_of_a_sample_is_always_an_error(folder, monkeypatch):
  found = shards.Shards(path=str(folder), replace_damaged=True)
  rewrite(folder, _2_png=tars.png(0, side=5))
  with pytest.raises(errors.DataError, match='0/2 is 5x5 but .*size='.replace(
    '0/2', r'0\.tar/2'
  )):  # fmt: skip
    shards.Shards(path=str(folder), replace_damaged=True)[2]
  found = shards.Shards(path=str(folder), replace_damaged=True)
  tars.write(folder / '0.tar', tars.samples(3))
  with pytest.raises(errors.DataError, match=r'0\.tar has changed'):
    found[0]
  (folder / '1.tar').unlink()
  monkeypatch.setattr(shards, 'PAUSE', 0.0)
  with pytest.raises(errors.DataError, match=r'1\.tar/7 cannot be read'):
    found[7]


def test_a_disk_that_fails_twice_is_asked_again(folder, monkeypatch):
  found, failures = shards.Shards(path=str(folder)), [1, 2]

  def flaky(*args):
    if failures:
      failures.pop()
      raise OSError('a moment')
    return pread(*args)

  pread = os.pread
  monkeypatch.setattr(shards, 'PAUSE', 0.0)
  monkeypatch.setattr(os, 'pread', flaky)
  assert values(found.take(np.arange(3))) == [0, 1, 2]


def test_fingerprint_sees_content_and_decoding(folder):
  make = lambda **fields: shards.Shards(path=str(folder), **fields)
  prints = {
    make().fingerprint(),
    make(size=2).fingerprint(),
    make(channels=1).fingerprint(),
    make(label='cls', classes=5).fingerprint(),
    make(label='cls', classes=6).fingerprint(),
    make(replace_damaged=True).fingerprint(),
  }
  before = make().fingerprint()
  os.utime(folder / '0.tar', (1, 1))
  tar_index.write(folder)
  assert make().fingerprint() == before  # a copy is the same data
  rewrite(folder, _2_png=tars.png(0))
  prints.add(make().fingerprint())
  assert len(prints) == 7


def test_few_files_are_open_at_once(folder, monkeypatch):
  monkeypatch.setattr(shards, 'OPEN', 1)
  found = shards.Shards(path=str(folder))
  assert len(found) == 24  # the index is open now
  before = len(os.listdir('/proc/self/fd'))
  wrong = []

  def read(seed):
    order = np.random.default_rng(seed).permutation(24)
    if values(found.take(order)) != order.tolist():
      wrong.append(seed)

  threads = [threading.Thread(target=read, args=(s,)) for s in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not wrong
  assert len(os.listdir('/proc/self/fd')) <= before + 1


@pytest.mark.parametrize('batch_size', [5, 8, 60])
@pytest.mark.parametrize('window', [None, 1, 3, 9])
def test_exactly_once_however_many_processes_read(folder, batch_size, window):
  """Process counts 1, 2, 4, 1 in turn; 24 is no multiple of the batch."""
  pipes = pipeline.Pipeline(
    source=shards.Shards(path=str(folder)), batch_size=batch_size,
    window=window, threads=2,
  )  # fmt: skip
  log, straight, steps = [], [], -(-3 * 24 // batch_size)
  for step in range(steps):
    rows = np.arange(batch_size)
    parts = np.array_split(rows, (1, 2, 4, 1)[4 * step // steps])
    log += [v for part in parts for v in values(pipes.rows(step, part))]
    straight += pipes.indices(step)[1].tolist()
  assert log == straight
  for epoch in range(3):
    assert sorted(log[24 * epoch : 24 * epoch + 24]) == list(range(24))


JOBS = [(0, 2, 1), (2, 5, 2), (5, 7, 4), (7, 9, 1)]  # start, stop, processes


@pytest.mark.slow
def test_jobs_of_one_two_four_and_one_processes_read_it_exactly_once(
  folder, tmp_path
):
  """Real processes: row order, and who read what, over three epochs."""
  straight = pipeline.Pipeline(
    source=shards.Shards(path=str(folder)), batch_size=8, window=3
  )
  module, seen = 'tests.data.shards_job', []
  for start, stop, count in JOBS:
    span = [str(n) for n in (start, stop, 8, 3)]
    argv = ['-m', module, str(folder), *span, str(tmp_path)]
    jobs.run(argv, count, by='environment', seconds=400)
    held = []
    for process in range(count):
      path = tmp_path / f'{start}-{process}.json'
      found = json.loads(path.read_text())
      mine = [value for _, _, value in found['held']]
      assert sorted(found['read']) == sorted(mine)  # its own rows, once
      assert len(mine) == 8 * (stop - start) // count
      held += found['held']
    rows = sorted(held)
    assert [tuple(row[:2]) for row in rows] == [
      (step, row) for step in range(start, stop) for row in range(8)
    ]
    seen += [value for _, _, value in rows]
  assert seen == [i for t in range(9) for i in straight.indices(t)[1].tolist()]
  for epoch in range(3):
    assert sorted(seen[24 * epoch : 24 * epoch + 24]) == list(range(24))


def test_batches_carry_the_name_of_what_is_damaged(folder):
  rewrite(folder, _2_png=b'no image')
  pipes = pipeline.Pipeline(
    source=shards.Shards(path=str(folder)), batch_size=32, threads=2
  )
  batches = pipes.batches(0, 3, lambda load, _: load(np.arange(32)))
  with pytest.raises(errors.DataError, match=r'0\.tar/2: not a readable image'):
    list(batches)


def test_wrapped_shards_stay_shards(folder):
  rewrite(folder, _2_png=b'no image')
  whole = shards.Shards(path=str(folder), replace_damaged=True)
  cut = source.Subset(source=whole, start=2, stop=10)
  changed = mapped.Mapped(source=cut, transforms=())
  assert changed.chunks == cut.chunks == (5, 1, 2)
  assert changed.stored_bytes == cut.stored_bytes == whole.stored_bytes
  assert values(changed.take(np.arange(8))) == [3, *range(3, 10)]
  assert changed.replaced == cut.replaced == whole.replaced == 1
