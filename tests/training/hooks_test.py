"""The hook that writes which examples were seen."""

from __future__ import annotations

import json

import jax

from difjax import data, training
from tests import tiny


def test_the_index_log_is_the_order_of_the_data(tmp_path):
  source = data.Subset(source=data.Digits(), stop=10)
  pipeline = data.Pipeline(source=source, batch_size=4, seed=5, threads=1)
  run = training.Run(
    objective=tiny.Mean(), pipeline=pipeline, workdir=tmp_path,
    mesh=training.Mesh().build(jax.devices()[:1]), writers=(),
  )  # fmt: skip
  hook = training.IndexLog()
  for step in (1, 2, 3):
    hook(run, step, None)
  text = (tmp_path / 'indices.jsonl').read_text()
  rows = [json.loads(line) for line in text.splitlines()]
  assert [row['step'] for row in rows] == [1, 2, 3]
  # What the step got: the labels of the logged examples, in their order.
  for row in rows:
    batch = pipeline.rows(row['step'] - 1, range(4))
    expected = [source[i]['label'] for i in row['index']]
    assert batch['label'].tolist() == expected
  assert [e for row in rows for e in row['epoch']] == [0] * 10 + [1] * 2
