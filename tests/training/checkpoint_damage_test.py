"""Checkpoints: which damage is found, and what becomes of the rest."""

from __future__ import annotations

import logging
import re
import shutil

import pytest

from difjax import errors, pytree, training
from tests.training import saves


def cut_short(step):
  file = saves.largest(step)
  file.write_bytes(file.read_bytes()[:-100])


def delete_a_file(step):
  saves.largest(step).unlink()


def empty_the_manifest(step):
  (step / saves.MANIFEST).write_text('')


def empty_the_step(step):
  for file in [f for f in step.rglob('*') if f.is_file()]:
    file.unlink()


def lose_an_item(step):
  shutil.rmtree(step / 'rest')


def lose_the_manifest(step):
  (step / saves.MANIFEST).unlink()


def spoil_the_metadata(step):
  (step / '_CHECKPOINT_METADATA').write_text('{"item_handlers": ')


def flip_in(name):
  """Returns a damage to one of orbax's own files, of a few bytes each."""

  def damage(step):
    file = step / name
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 16
    file.write_bytes(data)

  damage.__name__ = f'flip_in_{name.replace("/", "_")}'
  return damage


# Each with what the log must say of it.
DAMAGE = {
  saves.flip_a_bit: r'params/.* has changed',
  cut_short: r'params/.* has changed',
  delete_a_file: r'params/.* is missing',
  empty_the_manifest: 'difjax_manifest.json is no JSON',
  empty_the_step: 'difjax_manifest.json is missing',
  lose_an_item: 'rest/.* is missing',
  lose_the_manifest: 'difjax_manifest.json is missing',
  spoil_the_metadata: '_CHECKPOINT_METADATA is no JSON',
} | {
  flip_in(name): f'{name} has changed'
  for name in (
    'params/_METADATA', 'params/manifest.ocdbt', 'meta/metadata',
    'schema/metadata', 'rest/array_metadatas/process_0',
  )
}  # fmt: skip


@pytest.fixture(scope='module')
def two(tmp_path_factory):
  """Returns the folder of the steps 2 and 4, to be copied."""
  return saves.saved(tmp_path_factory.mktemp('two'), 2, 4)


@pytest.mark.parametrize(('damage', 'said'), DAMAGE.items())
def test_damage_is_set_aside_by_name(damage, said, two, tmp_path, caplog):
  folder = tmp_path / 'checkpoints'
  shutil.copytree(two, folder)
  damage(folder / '4')
  with caplog.at_level(logging.ERROR):
    found, meta = saves.restored(tmp_path)
  assert meta['step'] == 2
  assert pytree.digest(found) == pytree.digest(saves.state(2))
  assert re.search(f'checkpoint 4 set aside as 4.corrupt: {said}', caplog.text)
  assert (folder / '4.corrupt').is_dir()
  assert not (folder / '4').exists()


def test_a_step_that_was_lost_can_be_made_and_lost_again(tmp_path):
  folder = saves.saved(tmp_path, 2, 4)
  saves.flip_a_bit(folder / '4')
  assert saves.restored(tmp_path)[1]['step'] == 2
  saves.saved(tmp_path, 4)
  assert saves.restored(tmp_path)[1]['step'] == 4
  cut_short(folder / '4')
  assert saves.restored(tmp_path)[1]['step'] == 2
  assert {path.name for path in folder.iterdir()} == {
    '2', '4.corrupt', '4.corrupt.1'
  }  # fmt: skip


def test_an_empty_newer_step_is_set_aside(tmp_path):
  folder = saves.saved(tmp_path, 2)
  (folder / '4').mkdir()
  assert saves.restored(tmp_path)[1]['step'] == 2
  assert {path.name for path in folder.iterdir()} == {'2', '4.corrupt'}


def test_a_reader_moves_nothing(tmp_path, caplog):
  """For a run may be at work: its unfinished save is no leaving."""
  folder = saves.saved(tmp_path, 2, 4)
  saves.flip_a_bit(folder / '4')
  (folder / '6.orbax-checkpoint-tmp').mkdir()
  before = sorted(folder.rglob('*'))
  saver = training.Checkpointer(
    tmp_path, training.Checkpoints(), reading=True
  )
  _, meta = saver.restore_ema('main', saves.abstract(saves.state(0).params))
  saver.close()
  assert meta['step'] == 2
  assert sorted(folder.rglob('*')) == before
  assert re.search('checkpoint 4 left out: params/.* has changed', caplog.text)


def test_what_verifies_but_cannot_be_read_is_not_called_damaged(
  tmp_path, monkeypatch
):
  folder = saves.saved(tmp_path, 2)
  saver = saves.opened(tmp_path)

  def fail(*args, **kwargs):
    raise OSError('the file server is away\nTraceback ...')

  monkeypatch.setattr(saver._manager, 'restore', fail)
  with pytest.raises(errors.CheckpointError, match='is away') as caught:
    saver.restore(saves.abstract(saves.state(0)))
  saver.close()
  assert '\n' not in str(caught.value)
  assert [path.name for path in folder.iterdir()] == ['2']


def test_nothing_that_verifies_is_an_error_and_stays_one(tmp_path):
  folder = saves.saved(tmp_path, 2, 4)
  saves.flip_a_bit(folder / '2')
  cut_short(folder / '4')
  for _ in range(2):  # starting again must not begin at step 0
    with pytest.raises(errors.CheckpointError, match=r'\.corrupt') as caught:
      saves.restored(tmp_path)
    assert '\n' not in str(caught.value)
  names = {path.name for path in folder.iterdir()}
  assert names == {'2.corrupt', '4.corrupt'}
