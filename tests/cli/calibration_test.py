"""Figures of real images by a real network: their order is known."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

DATA = pathlib.Path(__file__).parents[2].parent / 'shared/data'
WEIGHTS = DATA / 'resnet_cifar10/resnet56-4bfd9763.th'
COUNT = 2_000


def sheet(name):
  """The images of a contact sheet of CIFAR-10."""
  page = np.asarray(Image.open(DATA / f'cifar10/{name}.webp').convert('RGB'))
  page = page.reshape(40, 32, 50, 32, 3).transpose(0, 2, 1, 3, 4)
  return page.reshape(-1, 32, 32, 3)


def blurred(images):
  soft = ImageFilter.GaussianBlur(1)
  return np.stack([
    np.asarray(Image.fromarray(image).filter(soft)) for image in images
  ])


@pytest.mark.slow
def test_halves_of_train_test_and_blurred(tmp_path, call):
  if not WEIGHTS.exists():
    pytest.skip(f'{WEIGHTS} is not there: no real weights')
  test = sheet('test_00')
  sets = {
    'a': sheet('train_00'), 'b': sheet('train_01'), 'test': test,
    'blur': blurred(test),
  }  # fmt: skip
  for name, images in sets.items():
    np.savez(tmp_path / f'{name}.npz', images[:COUNT])

  def figures(samples, reference):
    out = tmp_path / f'{samples}_{reference}'
    code, _, err = call(
      'evaluate', f'--samples={tmp_path}/{samples}.npz', f'--out={out}',
      f'--reference={tmp_path}/{reference}.npz',
      '--features.type=interop.Resnet', f'--features.path={WEIGHTS}',
    )  # fmt: skip
    assert code == 0, err
    found = json.loads((out / 'card.json').read_text())['figures']
    return {name: figure['value'] for name, figure in found.items()}

  halves, new = figures('b', 'a'), figures('test', 'a')
  soft = figures('blur', 'test')
  distance, kernel = 'fd_resnet56', 'kd_resnet56'
  # Two draws of one law: what is left is the bias of so few images.
  assert halves[distance] < new[distance] < 0.05 * soft[distance]
  assert halves[f'{distance}_infinity'] < halves[distance]
  assert max(abs(halves[kernel]), abs(new[kernel])) < 0.02 < soft[kernel]
  for name in ('precision', 'recall', 'density', 'coverage'):
    assert halves[name] > 0.75
    assert soft[name] < halves[name] - 0.1
  # The network saw the training images: it is surer of them.
  score = 'class_score_resnet56'
  assert halves[score] > new[score] > soft[score]
