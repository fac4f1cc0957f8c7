import threading
import time

import numpy as np
import pytest

from difjax import errors
from difjax.data import pipeline, source, synthetic, transforms

NOISE = synthetic.Synthetic(length=37, height=4, width=4, channels=1)


class Failing(source.Source):
  """Has one example that cannot be read."""

  def __len__(self):
    return 37

  def __getitem__(self, i):
    if i == 11:
      raise errors.DataError('number 11 is damaged')
    return {'image': np.zeros((1, 1, 1), np.uint8)}

  def fingerprint(self):
    return 'failing'


def pipe(**changes):
  return pipeline.Pipeline(
    **({'source': NOISE, 'batch_size': 8, 'seed': 3} | changes)
  )


def whole(load, step):
  return load(np.arange(8))


def data_threads():
  return [t for t in threading.enumerate() if t.name.startswith('difjax-data')]


def test_rows_hold_the_examples_that_indices_name():
  pipes = pipe()
  for step in (0, 4, 5):
    epochs, indices = pipes.indices(step)
    assert epochs.tolist() == [(8 * step + r) // 37 for r in range(8)]
    batch = pipes.rows(step, np.array([6, 1]))
    for row, r in enumerate((6, 1)):
      expected = NOISE[int(indices[r])]
      np.testing.assert_array_equal(batch['image'][row], expected['image'])
      assert batch['label'][row] == expected['label']


def test_three_epochs_hold_every_example_three_times():
  pipes = pipe()
  seen = np.concatenate([pipes.indices(step)[1] for step in range(14)])
  assert (np.bincount(seen[: 3 * 37], minlength=37) == 3).all()


def test_batch_may_be_larger_than_the_source():
  pipes = pipe(batch_size=80)
  epochs, indices = pipes.indices(0)
  assert sorted(indices[epochs == 1]) == list(range(37))
  assert pipes.rows(0, np.arange(80))['image'].shape == (80, 4, 4, 1)


def test_augmentation_depends_on_epoch_and_example_alone():
  changes = {'transforms': (transforms.Flip(), transforms.RandomCrop(pad=1))}
  small, large = pipe(**changes), pipe(batch_size=37, **changes)
  rows = large.rows(1, np.arange(37))['image']
  for g in range(40, 48):  # step 5 of batch 8 lies in the second epoch
    np.testing.assert_array_equal(
      small.rows(5, np.array([g - 40]))['image'][0], rows[g - 37]
    )
  first = large.rows(0, np.argsort(large.indices(0)[1]))['image']
  second = large.rows(1, np.argsort(large.indices(1)[1]))['image']
  changed = (first != second).any(axis=(1, 2, 3))
  assert 20 < changed.sum() <= 37


def test_transforms_run_in_order():
  grow, cut = transforms.Resize(size=8), transforms.CentreCrop(size=4)
  assert pipe(transforms=(grow, cut)).rows(0, [0])['image'].shape[1:3] == (4, 4)
  assert pipe(transforms=(cut, grow)).rows(0, [0])['image'].shape[1:3] == (8, 8)


@pytest.mark.parametrize('threads', [1, 3])
def test_batches_equal_rows(threads):
  pipes = pipe(batch_size=64, threads=threads)
  rows = np.arange(64)
  got = list(pipes.batches(2, 9, lambda load, step: load(rows)))
  assert [step for step, _ in got] == list(range(2, 9))
  for step, batch in got:
    for key, value in pipes.rows(step, rows).items():
      np.testing.assert_array_equal(batch[key], value)


def test_prefetch_is_bounded():
  placed = []
  batches = pipe(prefetch=2).batches(0, None, lambda _, k: placed.append(k))
  for step in range(3):
    assert next(batches)[0] == step
  time.sleep(0.05)
  assert len(placed) <= 3 + 2
  batches.close()


def test_failure_reaches_the_consumer_as_is():
  pipes = pipe(source=Failing())
  with pytest.raises(errors.DataError, match='number 11 is damaged'):
    list(pipes.batches(0, 5, whole))
  assert not data_threads()


def test_closing_early_stops_the_threads():
  batches = pipe().batches(0, None, whole)
  next(batches)
  assert data_threads()
  batches.close()
  assert not data_threads()


def test_sweep_reads_in_order_and_keeps_the_rest():
  batches = list(pipeline.sweep(NOISE, 10))
  assert [len(batch['image']) for batch in batches] == [10, 10, 10, 7]
  labels = np.concatenate([batch['label'] for batch in batches])
  assert labels.tolist() == [i % 10 for i in range(37)]


@pytest.mark.parametrize('key', ['batch_size', 'threads', 'prefetch'])
def test_sizes_must_be_positive(key):
  with pytest.raises(errors.ConfigError, match=f'{key}=0'):
    pipe(**{key: 0})
