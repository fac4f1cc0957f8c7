"""What evaluations leave behind."""

import json
import types

import numpy as np

from difjax.evaluation import parts


def test_writes_each_part_in_order(tmp_path, capsys):
  asked = []

  def one(model):
    asked.append(model.step)
    return parts.Found({'bits': 2.5, 'images': 3}, {'bits': np.arange(3.0)})

  model = types.SimpleNamespace(step=7)
  parts.write({'second': one, 'first': one}, model, tmp_path)
  assert asked == [7, 7]
  assert json.loads((tmp_path / 'first.json').read_text()) == {
    'step': 7, 'bits': 2.5, 'images': 3
  }  # fmt: skip
  with np.load(tmp_path / 'second.npz') as arrays:
    np.testing.assert_array_equal(arrays['bits'], [0, 1, 2])
  out = capsys.readouterr().out
  assert out.index('second') < out.index('first')
  assert '  bits    2.5\n' in out
