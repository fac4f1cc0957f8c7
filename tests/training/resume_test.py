"""A run that is stopped, damaged or set back is the run that never was."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time

import pytest

from difjax import data, errors, pytree, training
from difjax.training import manifest, writers
from tests import tiny

TRAINER = tiny.mean_trainer(
  mesh=tiny.FSDP, hooks=(training.IndexLog(),),
  checkpoints=training.Checkpoints(every=4, keep_latest=3),
)  # fmt: skip


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Twelve steps in one go: the work directory and the state's digest."""
  workdir = tmp_path_factory.mktemp('whole')
  return workdir, pytree.digest(training.train(TRAINER, workdir))


def losses(workdir):
  rows = writers.read_metrics(workdir)
  return [(row['step'], row['train/loss']) for row in rows]


def seen(workdir):
  """Returns what every step saw; where one came twice, it saw the same."""
  rows = {}
  for line in (workdir / 'indices.jsonl').read_text().splitlines():
    row = json.loads(line)
    assert rows.setdefault(row['step'], row) == row
  return [rows[step] for step in sorted(rows)]


def test_a_restart_sees_the_same_examples_and_writes_each_row_once(
  whole, tmp_path
):
  workdir, expected = whole
  training.train(dataclasses.replace(TRAINER, steps=6), tmp_path)
  assert pytree.digest(training.train(TRAINER, tmp_path)) == expected
  assert seen(tmp_path) == seen(workdir)
  assert losses(tmp_path) == losses(workdir)


def flip_bits(folder):
  """In one of every kind of file: data, indices, metadata."""
  names = ('params/manifest.ocdbt', 'params/_METADATA', 'meta/metadata')
  data_file = max(
    (file for file in (folder / 'rest').rglob('*') if file.is_file()),
    key=lambda file: file.stat().st_size,
  )
  for file in (data_file, *(folder / name for name in names)):
    found = bytearray(file.read_bytes())
    found[len(found) // 2] ^= 4
    file.write_bytes(found)


def empty_newer_step(folder):
  shutil.rmtree(folder)
  folder.mkdir()


def delete_an_item(folder):
  shutil.rmtree(folder / 'params')


def lose_the_manifest(folder):
  (folder / manifest.NAME).unlink()


@pytest.mark.parametrize(
  'damage', [flip_bits, empty_newer_step, delete_an_item, lose_the_manifest]
)
def test_a_damaged_checkpoint_is_made_again(damage, whole, tmp_path):
  workdir, expected = whole
  copy = tmp_path / 'run'
  shutil.copytree(workdir, copy)
  damage(copy / 'checkpoints' / '12')
  assert pytree.digest(training.train(TRAINER, copy)) == expected
  steps = {path.name for path in (copy / 'checkpoints').iterdir()}
  assert steps == {'4', '8', '12', '12.corrupt'}
  assert losses(copy) == losses(workdir)
  assert seen(copy) == seen(workdir)


def test_going_back_makes_the_later_checkpoints_again(whole, tmp_path):
  workdir, expected = whole
  copy = tmp_path / 'run'
  shutil.copytree(workdir, copy)
  assert pytree.digest(training.train(TRAINER, copy, 4)) == expected
  steps = {path.name for path in (copy / 'checkpoints').iterdir()}
  assert steps == {'4', '8', '12', '8.rolled_back', '12.rolled_back'}
  assert losses(copy) == losses(workdir)


def test_the_time_that_training_stood_still_is_a_metric(tmp_path, monkeypatch):
  write = manifest.write

  def slow(folder):
    time.sleep(0.5)
    write(folder)

  monkeypatch.setattr(manifest, 'write', slow)
  checkpoints = training.Checkpoints(every=4)
  training.train(
    dataclasses.replace(TRAINER, checkpoints=checkpoints), tmp_path
  )
  rows = writers.read_metrics(tmp_path)
  blocked = {
    row['step']: row['checkpoint/blocked_s']
    for row in rows if 'checkpoint/blocked_s' in row
  }  # fmt: skip
  assert list(blocked) == [5, 9]  # the rows after the saves
  assert blocked[9] > 0.3  # which waited for the one before


def test_all_that_changed_in_the_data_is_named(tmp_path):
  trainer = tiny.mean_trainer(steps=2)
  training.train(trainer, tmp_path)
  other = dataclasses.replace(trainer.data, batch_size=16, seed=5)
  with pytest.raises(errors.DataError) as caught:
    training.train(dataclasses.replace(trainer, data=other, steps=4), tmp_path)
  assert 'batch_size = 8, data_seed = 0, this run has 16, 5' in str(
    caught.value
  )


def test_images_of_another_width_are_named_by_path(tmp_path):
  wide = data.Pipeline(
    source=data.Subset(source=data.Digits(), stop=21), batch_size=8, threads=1,
    transforms=(data.Resize(size=16),),
  )  # fmt: skip
  trainer = tiny.mean_trainer(steps=2)
  training.train(trainer, tmp_path)
  with pytest.raises(
    errors.CheckpointError,
    match=r'params/w is float32\[8, 8, 1\] there and float32\[16, 16, 1\] here',
  ):
    training.train(dataclasses.replace(trainer, data=wide, steps=4), tmp_path)
  assert int(training.train(trainer, tmp_path).step) == 2  # nothing is lost
