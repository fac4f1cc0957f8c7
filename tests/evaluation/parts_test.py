"""What evaluations leave behind."""

import json
import types

import numpy as np
from PIL import Image

from difjax.evaluation import parts

IMAGE = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)


def test_writes_each_part_in_order(tmp_path, capsys):
  asked = []

  def one(model):
    asked.append(model.step)
    return parts.Found(
      {'bits': 2.5, 'images': 3}, {'bits': np.arange(3.0)}, {'seen': IMAGE}
    )

  model = types.SimpleNamespace(step=7)
  folder = tmp_path / 'evaluation'
  parts.write({'second': one, 'first': one}, model, folder)
  assert asked == [7, 7]
  assert json.loads((folder / 'first.json').read_text()) == {
    'step': 7, 'bits': 2.5, 'images': 3
  }  # fmt: skip
  with np.load(folder / 'second.npz') as arrays:
    np.testing.assert_array_equal(arrays['bits'], [0, 1, 2])
  with Image.open(folder / 'first_seen.png') as picture:
    np.testing.assert_array_equal(np.asarray(picture), IMAGE[..., 0])
  out = capsys.readouterr().out
  assert out.index('second') < out.index('first')
  assert '  bits    2.5\n' in out
