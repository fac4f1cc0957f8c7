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

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from difjax import errors, pytree, training
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
  """As if the process had died before the manifest, and a part was lost."""
  (step / MANIFEST).unlink()
  for file in [f for f in (step / 'rest').rglob('*') if f.is_file()]:
    file.unlink()


DAMAGE = (
  flip_a_bit, cut_short, delete_a_file, empty_the_manifest, empty_the_step,
  lose_an_item,
)  # fmt: skip


@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_is_set_aside_by_name(damage, tmp_path, caplog):
  folder = saved(tmp_path, 2, 4)
  damage(folder / '4')
  with caplog.at_level(logging.ERROR):
    found, meta = restored(tmp_path)
  assert meta['step'] == 2
  assert pytree.digest(found) == pytree.digest(state(2))
  assert 'checkpoint 4 set aside' in caplog.text
  assert (folder / '4.corrupt').is_dir()
  assert not (folder / '4').exists()
  saved(tmp_path, 4)  # and the step can be made again, and be lost again
  assert restored(tmp_path)[1]['step'] == 4
  damage(folder / '4')
  assert restored(tmp_path)[1]['step'] == 2
  assert {path.name for path in folder.iterdir()} == {
    '2', '4.corrupt', '4.corrupt.1'
  }  # fmt: skip


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
      'params/v is absent there and float32[64, 64] here',
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
  assert str(e.value).endswith(difference)
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
