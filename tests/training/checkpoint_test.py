"""Checkpoints: what is kept, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

from difjax import errors, pytree, training
from difjax.training import manifest
from tests import tiny
from tests.training import saves


def test_a_state_comes_back_bit_for_bit(tmp_path):
  saves.saved(tmp_path, 3)
  found, meta = saves.restored(tmp_path)
  assert pytree.digest(found) == pytree.digest(saves.state(3))
  assert meta == {'step': 3, 'note': 'kept'}
  assert found.params['w'].sharding == saves.state(0).params['w'].sharding


def test_nothing_saved_is_none(tmp_path):
  assert saves.restored(tmp_path) is None


def test_a_state_may_be_donated_while_it_is_written(tmp_path):
  big = saves.state(1, width=32_768)  # 8 MB a matrix
  like = saves.abstract(big)
  spoil = jax.jit(
    lambda tree: jax.tree.map(lambda x: x * 0, tree), donate_argnums=0
  )
  saver = saves.opened(tmp_path)
  saver.save(big, {'step': 1})
  jax.block_until_ready(spoil(big))
  saver.close()
  found, _ = saves.restored(tmp_path, like)
  assert pytree.digest(found) == pytree.digest(saves.state(1, width=32_768))


def test_the_manifest_holds_every_file(tmp_path):
  folder = saves.saved(tmp_path, 1, 2) / '2'
  manifest = json.loads((folder / saves.MANIFEST).read_text())
  files = {
    str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
    for file in folder.rglob('*')
    if file.is_file() and file.name != saves.MANIFEST
  }
  # What orbax writes as it commits, which is after the seal.
  for name in ('commit_success.txt', '_CHECKPOINT_METADATA'):
    del files[name]
  assert manifest == files
  assert {name.split('/')[0] for name in files} >= {
    'params', 'ema.main', 'ema.slow', 'rest', 'meta'
  }  # fmt: skip


@pytest.mark.parametrize(
  ('change', 'difference'),
  [
    (
      lambda like: saves.state(0, width=32),
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
  folder = saves.saved(tmp_path, 2, 4)
  before = sorted(folder.rglob('*'))
  with pytest.raises(errors.CheckpointError, match=r'4 .* does not fit') as e:
    saves.restored(tmp_path, change(saves.state(0)))
  assert str(e.value).split('this model: ')[1].startswith(difference)
  assert sorted(folder.rglob('*')) == before
  assert saves.restored(tmp_path)[1]['step'] == 4


def test_which_steps_are_kept(tmp_path):
  folder = saves.saved(tmp_path, *range(1, 8), keep_latest=2, keep_every=3)
  assert sorted(int(path.name) for path in folder.iterdir()) == [3, 6, 7]
  for step in (3, 6, 7):
    assert (folder / str(step) / saves.MANIFEST).exists()


def test_only_the_latest_are_kept_unless_told(tmp_path):
  folder = saves.saved(tmp_path, 1, 2, 3, 4, keep_latest=3)
  assert sorted(int(path.name) for path in folder.iterdir()) == [2, 3, 4]


def test_one_device_reads_what_eight_wrote(tmp_path):
  saves.saved(tmp_path, 3)
  like = saves.state(0, mesh=tiny.OneDevice())
  found, _ = saves.restored(tmp_path, like)
  assert pytree.digest(found) == pytree.digest(saves.state(3))
  assert len(found.params['w'].sharding.device_set) == 1


@pytest.mark.parametrize('name', ['', 'main', 'slow'])
def test_one_average_alone(name, tmp_path):
  saves.saved(tmp_path, 3)
  saver = saves.opened(tmp_path)
  found, meta = saver.restore_ema(name, saves.abstract(saves.state(0).params))
  saver.close()
  expected = saves.state(3).ema[name] if name else saves.state(3).params
  assert pytree.digest(found) == pytree.digest(expected)
  assert meta['step'] == 3


def test_an_unknown_average_is_named(tmp_path):
  saves.saved(tmp_path, 3)
  saver = saves.opened(tmp_path)
  with pytest.raises(errors.CheckpointError, match='mane'):
    saver.restore_ema('mane', saves.abstract(saves.state(0).params))
  saver.close()
  assert saves.restored(tmp_path)[1]['step'] == 3  # nothing was set aside


def test_no_checkpoint_to_read_an_average_of(tmp_path):
  saver = saves.opened(tmp_path)
  with pytest.raises(errors.CheckpointError, match='train first'):
    saver.restore_ema('main', saves.abstract(saves.state(0).params))
  saver.close()


def test_leavings_of_a_killed_save_are_removed(tmp_path):
  folder = saves.saved(tmp_path, 2)
  orphan = folder / '4.orbax-checkpoint-tmp'
  orphan.mkdir()
  assert saves.restored(tmp_path)[1]['step'] == 2
  assert not orphan.exists()


def test_no_step_has_a_number_before_its_manifest(tmp_path, monkeypatch):
  folder, seen = tmp_path / 'checkpoints', []
  write = manifest.write

  def noted(step):
    seen.append((step.name, sorted(path.name for path in folder.iterdir())))
    write(step)

  monkeypatch.setattr(manifest, 'write', noted)
  saves.saved(tmp_path, 2, 4)
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
  saver = saves.opened(tmp_path)
  first, second = saves.state(1), saves.state(2)
  began = time.monotonic()
  blocked = [saver.save(first, {'step': 1}), saver.save(second, {'step': 2})]
  took = time.monotonic() - began
  saver.close()
  assert most == [1, 1]
  assert blocked[1] > 0.4
  assert sum(blocked) == pytest.approx(took, rel=0.05)
  assert saves.restored(tmp_path)[1]['step'] == 2


def test_a_step_is_saved_once_and_an_earlier_one_is_refused(tmp_path):
  """Orbax would leave the earlier one out without a word."""
  saver = saves.opened(tmp_path)
  for step in (2, 4, 4):
    saver.save(saves.state(step), {'step': step})
  with pytest.raises(errors.CheckpointError, match=r'3 .* which has step 4'):
    saver.save(saves.state(3), {'step': 3})
  saver.close()
  assert saves.restored(tmp_path)[1]['step'] == 4


def test_later_steps_are_moved_aside_and_made_again(tmp_path):
  folder = saves.saved(tmp_path, 2, 4, 6, keep_latest=3)
  for round_ in range(2):
    saver = saves.opened(tmp_path, keep_latest=3)
    saver.roll_back(2)
    found, _ = saver.restore(saves.abstract(saves.state(0)))
    assert pytree.digest(found) == pytree.digest(saves.state(2))
    for step in (4, 6):
      saver.save(saves.state(step), {'step': step})
    saver.close()
    names = {path.name for path in folder.iterdir()}
    assert {'2', '4', '6', '4.rolled_back', '6.rolled_back'} <= names
    assert ('6.rolled_back.1' in names) == (round_ == 1)
  assert saves.restored(tmp_path)[1]['step'] == 6


def test_a_step_that_is_not_there_or_not_whole_is_not_gone_back_to(tmp_path):
  folder = saves.saved(tmp_path, 2, 4)
  saves.flip_a_bit(folder / '2')
  saver = saves.opened(tmp_path)
  with pytest.raises(errors.ConfigError, match=r'=3: .* the steps \[2, 4\]'):
    saver.roll_back(3)
  with pytest.raises(errors.CheckpointError, match=r'2: params/.* has changed'):
    saver.roll_back(2)
  saver.close()
  assert {path.name for path in folder.iterdir()} == {'2', '4'}


def test_checkpoints_may_lie_elsewhere(tmp_path):
  options = training.Checkpoints(directory=str(tmp_path / 'bucket'))
  saver = training.Checkpointer(tmp_path / 'run', options)
  saver.save(saves.state(2), {'step': 2})
  saver.close()
  assert (tmp_path / 'bucket' / 'checkpoints' / '2' / saves.MANIFEST).exists()
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
  folder = saves.saved(tmp_path, 2, 4)
  assert committed == [('2', False), ('4', False)]
  saves.flip_a_bit(folder / '4')
  assert saves.restored(tmp_path)[1]['step'] == 2


def test_the_room_for_two_is_asked_for_at_the_start(tmp_path, monkeypatch):
  """And for one where old ones will make room."""
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(saves.state(0)))
  usage = shutil.disk_usage(tmp_path)._replace(free=size + 2**20)
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
  saver = saves.opened(tmp_path)
  saver.check_space(saves.abstract(saves.state(0)), copies=1)
  with pytest.raises(errors.CheckpointError, match='the disk is full: 2 '):
    saver.check_space(saves.abstract(saves.state(0)), copies=2)
  for step in (2, 4):
    saver.save(saves.state(step), {'step': step})
  saver.check_space(saves.abstract(saves.state(0)), copies=2)
  saver.close()


def test_pages_of_errors_become_one_line(tmp_path, monkeypatch):
  """Of a disk that fills up while a step is written: orbax raises twice."""
  saver = saves.opened(tmp_path)

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
