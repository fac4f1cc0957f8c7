"""Checkpoints: what is kept, what damage is found, what is refused."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from difjax import errors, pytree, training
from difjax.training import manifest
from tests import tiny

MANIFEST = 'difjax_manifest.json'


def state(step, width=64, mesh=tiny.FSDP):
  """Returns a state of random numbers, its matrices split over a mesh."""
  rng = np.random.default_rng(step)
  built = mesh.build()
  split = NamedSharding(built, PartitionSpec('fsdp'))
  whole = NamedSharding(built, PartitionSpec())
  numbers = lambda: {
    'w': jax.device_put(rng.standard_normal((64, width)).astype('f4'), split)
  }
  scalar = lambda n: jax.device_put(jnp.int32(n), whole)
  return training.TrainState(
    step=scalar(step), params=numbers(),
    opt_state=(scalar(step), numbers(), numbers()),
    ema={'main': numbers(), 'slow': numbers()},
    aux={'seen': scalar(7 * step)}, skipped=scalar(1), streak=scalar(0),
  )  # fmt: skip


def abstract(tree):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
  )


def opened(workdir, **options):
  return training.Checkpointer(workdir, training.Checkpoints(**options))


def saved(workdir, *steps, **options):
  """Saves states of some steps; returns the folder that they lie in."""
  saver = opened(workdir, **options)
  for step in steps:
    saver.save(state(step), {'step': step, 'note': 'kept'})
  saver.close()
  return workdir / 'checkpoints'


def restored(workdir, like=None):
  saver = opened(workdir)
  try:
    return saver.restore(abstract(state(0) if like is None else like))
  finally:
    saver.close()


def largest(folder):
  """Returns the file with most of a step's numbers."""
  files = [f for f in (folder / 'params').rglob('*') if f.is_file()]
  return max(files, key=lambda file: file.stat().st_size)


def test_a_state_comes_back_bit_for_bit(tmp_path):
  saved(tmp_path, 3)
  found, meta = restored(tmp_path)
  assert pytree.digest(found) == pytree.digest(state(3))
  assert meta == {'step': 3, 'note': 'kept'}
  assert found.params['w'].sharding == state(0).params['w'].sharding


def test_nothing_saved_is_none(tmp_path):
  assert restored(tmp_path) is None


def test_a_state_may_be_donated_while_it_is_written(tmp_path):
  big = state(1, width=32_768)  # 8 MB a matrix
  like = abstract(big)
  spoil = jax.jit(
    lambda tree: jax.tree.map(lambda x: x * 0, tree), donate_argnums=0
  )
  saver = opened(tmp_path)
  saver.save(big, {'step': 1})
  jax.block_until_ready(spoil(big))
  saver.close()
  found, _ = restored(tmp_path, like)
  assert pytree.digest(found) == pytree.digest(state(1, width=32_768))


def test_the_manifest_holds_every_file(tmp_path):
  folder = saved(tmp_path, 1, 2) / '2'
  manifest = json.loads((folder / MANIFEST).read_text())
  files = {
    str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
    for file in folder.rglob('*')
    if file.is_file() and file.name != MANIFEST
  }
  # What orbax writes as it commits, which is after the seal.
  for name in ('commit_success.txt', '_CHECKPOINT_METADATA'):
    del files[name]
  assert manifest == files
  assert {name.split('/')[0] for name in files} >= {
    'params', 'ema.main', 'ema.slow', 'rest', 'meta'
  }  # fmt: skip


def flip_a_bit(step):
  file = largest(step)
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 1
  file.write_bytes(data)


def cut_short(step):
  file = largest(step)
  file.write_bytes(file.read_bytes()[:-100])


def delete_a_file(step):
  largest(step).unlink()


def empty_the_manifest(step):
  (step / MANIFEST).write_text('')


def empty_the_step(step):
  for file in [f for f in step.rglob('*') if f.is_file()]:
    file.unlink()


def lose_an_item(step):
  shutil.rmtree(step / 'rest')


def lose_the_manifest(step):
  (step / MANIFEST).unlink()


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
  flip_a_bit: r'params/.* has changed',
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
  return saved(tmp_path_factory.mktemp('two'), 2, 4)


@pytest.mark.parametrize(('damage', 'said'), DAMAGE.items())
def test_damage_is_set_aside_by_name(damage, said, two, tmp_path, caplog):
  folder = tmp_path / 'checkpoints'
  shutil.copytree(two, folder)
  damage(folder / '4')
  with caplog.at_level(logging.ERROR):
    found, meta = restored(tmp_path)
  assert meta['step'] == 2
  assert pytree.digest(found) == pytree.digest(state(2))
  assert re.search(f'checkpoint 4 set aside as 4.corrupt: {said}', caplog.text)
  assert (folder / '4.corrupt').is_dir()
  assert not (folder / '4').exists()


def test_a_step_that_was_lost_can_be_made_and_lost_again(tmp_path):
  folder = saved(tmp_path, 2, 4)
  flip_a_bit(folder / '4')
  assert restored(tmp_path)[1]['step'] == 2
  saved(tmp_path, 4)
  assert restored(tmp_path)[1]['step'] == 4
  cut_short(folder / '4')
  assert restored(tmp_path)[1]['step'] == 2
  assert {path.name for path in folder.iterdir()} == {
    '2', '4.corrupt', '4.corrupt.1'
  }  # fmt: skip


def test_an_empty_newer_step_is_set_aside(tmp_path):
  folder = saved(tmp_path, 2)
  (folder / '4').mkdir()
  assert restored(tmp_path)[1]['step'] == 2
  assert {path.name for path in folder.iterdir()} == {'2', '4.corrupt'}


def test_a_reader_moves_nothing(tmp_path, caplog):
  """For a run may be at work: its unfinished save is no leaving."""
  folder = saved(tmp_path, 2, 4)
  flip_a_bit(folder / '4')
  (folder / '6.orbax-checkpoint-tmp').mkdir()
  before = sorted(folder.rglob('*'))
  saver = training.Checkpointer(
    tmp_path, training.Checkpoints(), reading=True
  )
  _, meta = saver.restore_ema('main', abstract(state(0).params))
  saver.close()
  assert meta['step'] == 2
  assert sorted(folder.rglob('*')) == before
  assert re.search('checkpoint 4 left out: params/.* has changed', caplog.text)


def test_what_verifies_but_cannot_be_read_is_not_called_damaged(
  tmp_path, monkeypatch
):
  folder = saved(tmp_path, 2)
  saver = opened(tmp_path)

  def fail(*args, **kwargs):
    raise OSError('the file server is away\nTraceback ...')

  monkeypatch.setattr(saver._manager, 'restore', fail)
  with pytest.raises(errors.CheckpointError, match='is away') as caught:
    saver.restore(abstract(state(0)))
  saver.close()
  assert '\n' not in str(caught.value)
  assert [path.name for path in folder.iterdir()] == ['2']


def test_nothing_that_verifies_is_an_error_and_stays_one(tmp_path):
  folder = saved(tmp_path, 2, 4)
  flip_a_bit(folder / '2')
  cut_short(folder / '4')
  for _ in range(2):  # starting again must not begin at step 0
    with pytest.raises(errors.CheckpointError, match=r'\.corrupt') as caught:
      restored(tmp_path)
    assert '\n' not in str(caught.value)
  names = {path.name for path in folder.iterdir()}
  assert names == {'2.corrupt', '4.corrupt'}


@pytest.mark.parametrize(
  ('change', 'difference'),
  [
    (
      lambda like: state(0, width=32),
      'params/w is float32[64, 64] there and float32[64, 32] here',
    ),
    (
      lambda like: like.replace(params={'v': like.params['w']}),
      'params/v is absent there and float32[64, 64] here; '
      'params/w is float32[64, 64] there and absent here',
    ),
    (
      lambda like: like.replace(ema={'other': like.params}),
      'ema.other/w is absent there and float32[64, 64] here',
    ),
    (
      lambda like: like.replace(opt_state=like.opt_state[:2]),
      'rest/opt_state/2/w is float32[64, 64] there and absent here',
    ),
    (
      lambda like: like.replace(
        params={'w': like.params['w'].astype(jnp.bfloat16)}
      ),
      'params/w is float32[64, 64] there and bfloat16[64, 64] here',
    ),
  ],
  ids=['width', 'name', 'average', 'moment', 'type'],
)
def test_another_model_is_refused_and_nothing_is_lost(
  change, difference, tmp_path
):
  folder = saved(tmp_path, 2, 4)
  before = sorted(folder.rglob('*'))
  with pytest.raises(errors.CheckpointError, match=r'4 .* does not fit') as e:
    restored(tmp_path, change(state(0)))
  assert str(e.value).split('this model: ')[1].startswith(difference)
  assert sorted(folder.rglob('*')) == before
  assert restored(tmp_path)[1]['step'] == 4


def test_which_steps_are_kept(tmp_path):
  folder = saved(tmp_path, *range(1, 8), keep_latest=2, keep_every=3)
  assert sorted(int(path.name) for path in folder.iterdir()) == [3, 6, 7]
  assert all((folder / str(step) / MANIFEST).exists() for step in (3, 6, 7))


def test_only_the_latest_are_kept_unless_told(tmp_path):
  folder = saved(tmp_path, 1, 2, 3, 4, keep_latest=3)
  assert sorted(int(path.name) for path in folder.iterdir()) == [2, 3, 4]


def test_one_device_reads_what_eight_wrote(tmp_path):
  saved(tmp_path, 3)
  like = state(0, mesh=tiny.OneDevice())
  found, _ = restored(tmp_path, like)
  assert pytree.digest(found) == pytree.digest(state(3))
  assert len(found.params['w'].sharding.device_set) == 1


@pytest.mark.parametrize('name', ['', 'main', 'slow'])
def test_one_average_alone(name, tmp_path):
  saved(tmp_path, 3)
  saver = opened(tmp_path)
  found, meta = saver.restore_ema(name, abstract(state(0).params))
  saver.close()
  expected = state(3).ema[name] if name else state(3).params
  assert pytree.digest(found) == pytree.digest(expected)
  assert meta['step'] == 3


def test_an_unknown_average_is_named(tmp_path):
  saved(tmp_path, 3)
  saver = opened(tmp_path)
  with pytest.raises(errors.CheckpointError, match='mane'):
    saver.restore_ema('mane', abstract(state(0).params))
  saver.close()
  assert restored(tmp_path)[1]['step'] == 3  # nothing was set aside


def test_no_checkpoint_to_read_an_average_of(tmp_path):
  saver = opened(tmp_path)
  with pytest.raises(errors.CheckpointError, match='train first'):
    saver.restore_ema('main', abstract(state(0).params))
  saver.close()


def test_leavings_of_a_killed_save_are_removed(tmp_path):
  folder = saved(tmp_path, 2)
  orphan = folder / '4.orbax-checkpoint-tmp'
  orphan.mkdir()
  assert restored(tmp_path)[1]['step'] == 2
  assert not orphan.exists()


def test_no_step_has_a_number_before_its_manifest(tmp_path, monkeypatch):
  folder, seen = tmp_path / 'checkpoints', []
  write = manifest.write

  def noted(step):
    seen.append((step.name, sorted(path.name for path in folder.iterdir())))
    write(step)

  monkeypatch.setattr(manifest, 'write', noted)
  saved(tmp_path, 2, 4)
  partial = [f'{step}.orbax-checkpoint-tmp' for step in (2, 4)]
  assert seen == [
    (partial[0], [partial[0]]), (partial[1], ['2', partial[1]])
  ]  # fmt: skip


def test_one_save_is_under_way_at_a_time(tmp_path, monkeypatch):
  """To storage that takes half a second: who comes second waits for it."""
  busy, most = [], []
  write = manifest.write

  def slow(step):
    busy.append(step)
    most.append(len(busy))
    time.sleep(0.5)
    write(step)
    busy.remove(step)

  monkeypatch.setattr(manifest, 'write', slow)
  saver = opened(tmp_path)
  first, second = state(1), state(2)
  began = time.monotonic()
  blocked = [saver.save(first, {'step': 1}), saver.save(second, {'step': 2})]
  took = time.monotonic() - began
  saver.close()
  assert most == [1, 1]
  assert blocked[1] > 0.4
  assert sum(blocked) == pytest.approx(took, rel=0.05)
  assert restored(tmp_path)[1]['step'] == 2


def test_a_step_is_saved_once_and_an_earlier_one_is_refused(tmp_path):
  """Orbax would leave the earlier one out without a word."""
  saver = opened(tmp_path)
  for step in (2, 4, 4):
    saver.save(state(step), {'step': step})
  with pytest.raises(errors.CheckpointError, match=r'3 .* which has step 4'):
    saver.save(state(3), {'step': 3})
  saver.close()
  assert restored(tmp_path)[1]['step'] == 4


def test_later_steps_are_moved_aside_and_made_again(tmp_path):
  folder = saved(tmp_path, 2, 4, 6, keep_latest=3)
  for round_ in range(2):
    saver = opened(tmp_path, keep_latest=3)
    saver.roll_back(2)
    found, _ = saver.restore(abstract(state(0)))
    assert pytree.digest(found) == pytree.digest(state(2))
    for step in (4, 6):
      saver.save(state(step), {'step': step})
    saver.close()
    names = {path.name for path in folder.iterdir()}
    assert {'2', '4', '6', '4.rolled_back', '6.rolled_back'} <= names
    assert ('6.rolled_back.1' in names) == (round_ == 1)
  assert restored(tmp_path)[1]['step'] == 6


def test_a_step_that_is_not_there_or_not_whole_is_not_gone_back_to(tmp_path):
  folder = saved(tmp_path, 2, 4)
  flip_a_bit(folder / '2')
  saver = opened(tmp_path)
  with pytest.raises(errors.ConfigError, match=r'=3: .* the steps \[2, 4\]'):
    saver.roll_back(3)
  with pytest.raises(errors.CheckpointError, match=r'2: params/.* has changed'):
    saver.roll_back(2)
  saver.close()
  assert {path.name for path in folder.iterdir()} == {'2', '4'}


def test_checkpoints_may_lie_elsewhere(tmp_path):
  options = training.Checkpoints(directory=str(tmp_path / 'bucket'))
  saver = training.Checkpointer(tmp_path / 'run', options)
  saver.save(state(2), {'step': 2})
  saver.close()
  assert (tmp_path / 'bucket' / 'checkpoints' / '2' / MANIFEST).exists()
  assert not (tmp_path / 'run').exists()


def test_a_store_without_renames_is_sealed_before_it_counts(
  tmp_path, monkeypatch
):
  """As on gs://, where `commit_success.txt` in the step's folder commits it."""
  mode = ocp.options.AtomicityOptions(
    mode=ocp.options.AtomicityMode.COMMIT_FILE
  )
  plain = ocp.CheckpointManagerOptions
  monkeypatch.setattr(
    ocp, 'CheckpointManagerOptions',
    lambda **options: plain(**options, atomicity_options=mode),
  )  # fmt: skip
  committed, write = [], manifest.write

  def noted(step):
    committed.append((step.name, (step / 'commit_success.txt').exists()))
    write(step)

  monkeypatch.setattr(manifest, 'write', noted)
  folder = saved(tmp_path, 2, 4)
  assert committed == [('2', False), ('4', False)]
  flip_a_bit(folder / '4')
  assert restored(tmp_path)[1]['step'] == 2


def test_the_room_for_two_is_asked_for_at_the_start(tmp_path, monkeypatch):
  """And for one where old ones will make room."""
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state(0)))
  usage = shutil.disk_usage(tmp_path)._replace(free=size + 2**20)
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
  saver = opened(tmp_path)
  saver.check_space(abstract(state(0)), copies=1)
  with pytest.raises(errors.CheckpointError, match='the disk is full: 2 '):
    saver.check_space(abstract(state(0)), copies=2)
  for step in (2, 4):
    saver.save(state(step), {'step': step})
  saver.check_space(abstract(state(0)), copies=2)
  saver.close()


def test_pages_of_errors_become_one_line(tmp_path, monkeypatch):
  """Of a disk that fills up while a step is written: orbax raises twice."""
  saver = opened(tmp_path)

  def fail():
    raise ValueError('RESOURCE_EXHAUSTED: Error writing\nTraceback ...')

  monkeypatch.setattr(saver._manager, 'wait_until_finished', fail)
  monkeypatch.setattr(saver._manager, 'close', fail)
  with pytest.raises(errors.CheckpointError, match='the disk is full') as e:
    saver.close()
  assert '\n' not in str(e.value)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path):
  """On a file system of 4 MB, or with small files alone if none is to be had.

  In a process of its own: train to step 2, let a hook fill the disk, fail,
  make room, go on to step 6, fill it, fail, make room, go on to step 9.
  """
  mount = f'mount -t tmpfs -o size=4m none {tmp_path} && exec "$@"'
  inside = ['unshare', '-rm', 'sh', '-c', mount, 'sh']
  can_mount = shutil.which('unshare') and not subprocess.run(
    [*inside, 'true'], check=False, capture_output=True
  ).returncode
  script = pathlib.Path(__file__).with_name('full_disk.py')
  done = subprocess.run(
    [*(inside if can_mount else []), sys.executable, script, tmp_path],
    capture_output=True, text=True, cwd=tiny.ROOT, check=False,
    env={**os.environ, 'PYTHONPATH': str(tiny.ROOT)},
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  codes, steps = zip(*json.loads(done.stdout.splitlines()[-1]), strict=True)
  assert codes == (0, 5, 0, 5, 0), done.stderr
  assert steps[0] == [1, 2]
  assert steps[2] == list(range(1, 7))
  assert steps[4] == list(range(1, 10))
  for said in re.findall('FILLED\n(.*?)EMPTIED', done.stderr, re.DOTALL):
    lines = [line for line in said.splitlines() if line.startswith('difjax')]
    assert len(lines) == 1, said
    assert re.search('No space left|disk is full|too large', lines[0])
    assert 'Traceback' not in said
