"""The loop: restarts, meshes, metrics, and steps that are not finite."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from difjax import data, errors, pytree, training
from difjax.data import device
from difjax.training import trainer as trainers
from difjax.training import writers
from tests import tiny

SPLIT = tiny.trainer(mesh=tiny.FSDP, rules=tiny.SPLIT_ALL)  # 12 steps


def metrics(workdir, key='train/loss'):
  rows = writers.read_metrics(workdir)
  return [row['step'] for row in rows], np.array([row[key] for row in rows])


class Digests:
  """A hook that notes the digest of every twelfth state."""

  every = 12

  def __init__(self):
    self.found = {}

  def __call__(self, run, step, state):
    """Notes."""
    self.found[step] = pytree.digest(state)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Twenty steps split in eight: the work directory and the twelfth digest."""
  workdir, hook = tmp_path_factory.mktemp('whole'), Digests()
  trainer = dataclasses.replace(SPLIT, steps=20, hooks=(hook,))
  training.train(trainer, workdir)
  return workdir, hook.found[12]


def test_a_restart_changes_no_bit(whole, tmp_path):
  """Dropout, hidden labels, flips, warm-up, an average: 12 = 6 + 6."""
  workdir, expected = whole
  half = training.train(dataclasses.replace(SPLIT, steps=6), tmp_path)
  assert pytree.digest(half) != expected
  assert pytree.digest(training.train(SPLIT, tmp_path)) == expected
  for key in ('train/loss', 'train/grad_norm', 'train/learning_rate'):
    steps, values = metrics(tmp_path, key)
    assert steps == list(range(1, 13))
    np.testing.assert_array_equal(values, metrics(workdir, key)[1][:12])


def test_a_restart_changes_no_bit_of_copies(tmp_path):
  """As above, with eight copies of the state, killed between 6 and 12."""
  trainer = tiny.trainer()
  expected = pytree.digest(training.train(trainer, tmp_path))
  shutil.rmtree(tmp_path / 'checkpoints' / '12')
  assert pytree.digest(training.train(trainer, tmp_path)) == expected


def test_the_state_is_split_as_the_tests_say():
  _, abstract = trainers.compiled(SPLIT, tiny.FSDP.build())
  for tree in (abstract.params, abstract.ema['main'], abstract.opt_state):
    shapes = [
      (leaf.shape, leaf.sharding.shard_shape(leaf.shape))
      for path, leaf in pytree.named_leaves(tree)
      if path.endswith('blocks/mlp_out/kernel')
    ]
    assert shapes
    assert set(shapes) == {((1, 64, 16), (1, 8, 16))}


def test_the_loss_does_not_depend_on_the_mesh(whole, tmp_path):
  alone = dataclasses.replace(SPLIT, mesh=tiny.OneDevice(), steps=20)
  training.train(alone, tmp_path)
  steps, losses = metrics(tmp_path)
  assert steps == list(range(1, 21))
  np.testing.assert_allclose(losses, metrics(whole[0])[1], rtol=1e-5)


def test_a_kill_after_a_checkpoint_leaves_each_row_once(tmp_path):
  trainer = tiny.mean_trainer(checkpoints=training.Checkpoints(every=6))
  expected = pytree.digest(training.train(trainer, tmp_path))
  once = metrics(tmp_path)
  shutil.rmtree(tmp_path / 'checkpoints' / '12')
  with (tmp_path / 'metrics.jsonl').open('a') as stream:
    stream.write('{"step": 13, "train/lo')
  assert pytree.digest(training.train(trainer, tmp_path)) == expected
  assert metrics(tmp_path)[0] == list(range(1, 13))
  np.testing.assert_array_equal(metrics(tmp_path)[1], once[1])


def test_every_example_comes_once_an_epoch(tmp_path):
  """21 examples in batches of 8, stopped and started within an epoch."""
  trainer = tiny.mean_trainer(
    steps=9, hooks=(training.IndexLog(),),
    checkpoints=training.Checkpoints(every=4),
  )  # fmt: skip
  training.train(dataclasses.replace(trainer, steps=4), tmp_path)
  training.train(trainer, tmp_path)
  lines = (tmp_path / 'indices.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  assert [row['step'] for row in rows] == list(range(1, 10))
  pairs = [zip(row['epoch'], row['index'], strict=True) for row in rows]
  seen = list(itertools.chain(*pairs))
  epochs = [[i for e, i in seen if e == epoch] for epoch in range(3)]
  assert [sorted(epoch) for epoch in epochs] == [list(range(21))] * 3
  assert epochs[0] != epochs[1] != epochs[2]
  assert len(seen) == 72  # and the first of a fourth epoch


def test_a_finished_run_is_left_alone(tmp_path):
  trainer = tiny.mean_trainer(steps=3)
  expected = pytree.digest(training.train(trainer, tmp_path))
  before = (tmp_path / 'metrics.jsonl').read_text()
  assert pytree.digest(training.train(trainer, tmp_path)) == expected
  assert (tmp_path / 'metrics.jsonl').read_text() == before


def test_rows_are_means_over_their_steps(tmp_path):
  each, every = tmp_path / 'each', tmp_path / 'every'
  training.train(tiny.mean_trainer(steps=10), each)
  training.train(tiny.mean_trainer(steps=10, log_every=4), every)
  steps, losses = metrics(every)
  assert steps == [4, 8, 10]
  single = metrics(each)[1]
  expected = [single[:4].mean(), single[4:8].mean(), single[8:].mean()]
  np.testing.assert_allclose(losses, expected, rtol=1e-6)
  # The objective's own metric, which is the number of the step from 0.
  np.testing.assert_allclose(metrics(every, 'train/at')[1], [1.5, 5.5, 8.5])
  for workdir in (each, every):  # also where a row is the first step alone
    speeds = metrics(workdir, 'perf/images_per_s')[1]
    assert ((speeds > 0) & (speeds < 1e6)).all()


def test_the_learning_rate_is_that_of_the_step(tmp_path):
  training.train(tiny.mean_trainer(steps=10), tmp_path)
  expected = [1e-2 * min(step / 8, 1) for step in range(10)]
  rates = metrics(tmp_path, 'train/learning_rate')[1]
  np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_the_step_is_compiled_once(tmp_path, monkeypatch):
  made = []
  compiled = trainers.compiled

  def noted(*args):
    made.append(compiled(*args))
    return made[-1]

  monkeypatch.setattr(trainers, 'compiled', noted)
  trainer = tiny.mean_trainer(steps=10, mesh=tiny.FSDP)
  training.train(trainer, tmp_path)
  training.train(dataclasses.replace(trainer, steps=20), tmp_path)
  assert [step._cache_size() for step, _ in made] == [1, 1]


def test_a_batch_left_on_the_host_is_refused(tmp_path, monkeypatch):
  """The step moves nothing: what should lie on the devices must lie there."""

  def on_the_host(pipeline, start, stop, sharding):
    for step in range(start, stop):
      yield step, pipeline.rows(step, np.arange(pipeline.batch_size))

  monkeypatch.setattr(device, 'device_batches', on_the_host)
  with pytest.raises(Exception, match='Disallowed host-to-device'):
    training.train(tiny.mean_trainer(steps=2), tmp_path)


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path):
  bad, good = tmp_path / 'bad', tmp_path / 'good'
  trainer = tiny.mean_trainer(bad=(2, 3, 5), steps=8, mesh=tiny.FSDP)
  state = training.train(trainer, bad)
  training.train(tiny.mean_trainer(steps=8, mesh=tiny.FSDP), good)
  assert int(state.step) == 8
  assert int(state.skipped) == 3
  assert int(state.aux['batches']) == 5
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
  assert metrics(bad, 'train/skipped')[1].tolist() == [0, 0, 1, 2, 2, 3, 3, 3]
  assert metrics(bad, 'train/streak')[1].tolist() == [0, 0, 1, 2, 0, 1, 0, 0]
  losses = metrics(bad)[1]
  assert np.flatnonzero(np.isnan(losses)).tolist() == [2, 3, 5]
  np.testing.assert_array_equal(losses[:2], metrics(good)[1][:2])


def test_rows_leave_skipped_steps_out_of_their_means(tmp_path):
  training.train(tiny.mean_trainer(bad=(1,), steps=4, log_every=4), tmp_path)
  assert np.isfinite(metrics(tmp_path)[1]).all()


@pytest.mark.parametrize('log_every', [1, 5])
def test_a_streak_ends_the_run_and_leaves_a_finite_checkpoint(
  log_every, tmp_path
):
  trainer = tiny.mean_trainer(
    bad=range(4, 100), steps=60, log_every=log_every, max_streak=7,
    checkpoints=training.Checkpoints(every=3),
  )  # fmt: skip
  with pytest.raises(errors.NonFiniteError, match='in a row') as caught:
    training.train(trainer, tmp_path)
  assert '\n' not in str(caught.value)
  _, abstract = trainers.compiled(trainer, trainer.mesh.build())
  saver = training.Checkpointer(tmp_path, trainer.checkpoints)
  state, meta = saver.restore(abstract)
  saver.close()
  assert meta['step'] < 60
  assert int(state.aux['batches']) == 4
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_a_streak_goes_on_across_a_restart(tmp_path):
  trainer = tiny.mean_trainer(bad=range(100), max_streak=7, steps=5)
  training.train(trainer, tmp_path)
  with pytest.raises(errors.NonFiniteError, match=r'7 .* up to step 7:'):
    training.train(dataclasses.replace(trainer, steps=20), tmp_path)


def test_a_batch_that_cannot_be_split_is_refused(tmp_path):
  pipeline = data.Pipeline(source=data.Digits(), batch_size=12, threads=1)
  with pytest.raises(errors.ConfigError, match=r'12 cannot be split over 8'):
    training.train(tiny.mean_trainer(data=pipeline), tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_a_mesh_that_does_not_fit_is_refused(tmp_path):
  trainer = tiny.mean_trainer(mesh=training.Mesh(fsdp=3))
  with pytest.raises(errors.ConfigError, match=r'fsdp=3.* does not fit 8'):
    training.train(trainer, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('change', ['seed', 'batch_size', 'source'])
def test_other_data_are_refused_on_a_restart(change, tmp_path):
  trainer = tiny.mean_trainer(steps=2)
  training.train(trainer, tmp_path)
  changed = {'seed': 1, 'batch_size': 16, 'source': data.Digits(split='test')}
  other = dataclasses.replace(trainer.data, **{change: changed[change]})
  with pytest.raises(errors.DataError, match='checkpoint was written with'):
    training.train(dataclasses.replace(trainer, data=other, steps=4), tmp_path)


def test_hooks_act_at_their_multiples(tmp_path):
  seen = []

  class Noting:
    every = 3

    def __call__(self, run, step, state):
      seen.append((step, int(state.step), run.workdir))

  training.train(tiny.mean_trainer(steps=7, hooks=(Noting(),)), tmp_path)
  assert seen == [(3, 3, tmp_path), (6, 6, tmp_path)]
