"""The benchmark of saves measures what it says."""

from __future__ import annotations

import jax
import pytest

from difjax import training
from difjax.evaluation import checkpoint_bench
from difjax.training import checkpoint
from tests import tiny


def test_blocked_seconds_over_those_of_the_interval(tmp_path, monkeypatch):
  saved, seconds = [], iter([9.0, 2.0, 4.0, 3.0])

  def save(self, state, meta):
    saved.append((meta['step'], jax.tree.map(lambda x: x.shape, state)))
    return next(seconds)

  monkeypatch.setattr(checkpoint.Checkpointer, 'save', save)
  trainer = tiny.mean_trainer(checkpoints=training.Checkpoints(every=50))
  found = checkpoint_bench.stall(trainer, 3, step_ms=600.0, folder=tmp_path)
  assert [step for step, _ in saved] == [0, 1, 2, 3]
  assert saved[0][1].params == {'w': (8, 8, 1)}
  assert found['blocked_s'] == 3.0
  assert found['blocked_max_s'] == 4.0
  assert found['ratio'] == pytest.approx(3.0 / 30)
  # Parameters, two moments and an average of 64 numbers, and some counters.
  assert 4 * 4 * 64 < found['bytes'] < 4 * 4 * 64 + 100
  assert list(tmp_path.iterdir()) == []


def test_a_save_is_timed(tmp_path):
  found = checkpoint_bench.stall(tiny.mean_trainer(), 1, 1.0, tmp_path)
  assert 0 < found['blocked_s'] < found['written_s']
