"""Inception and CLIP scores on hand-made cases and against official codes."""

import math

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import scores

NONE = scores.SCORE_SDE


def test_uniform_predictions_score_one():
  got = scores.inception_score(np.zeros((6, 4)), NONE)
  assert got.mean == pytest.approx(1, rel=1e-12)


def test_sure_and_balanced_predictions_score_the_number_of_classes():
  logits = 1e4 * np.eye(5)[np.arange(20) % 5]
  got = scores.inception_score(logits, NONE)
  assert got.mean == pytest.approx(5, rel=1e-12)
  assert scores.inception_score(1e4 * np.eye(5)[[2, 2]]).mean == 1


def test_two_images_by_hand():
  # p = (3/4, 1/4) and its mirror: KL to (1/2, 1/2) as below, of both.
  logits = np.log([[3, 1], [1, 3]]) + np.array([[7], [-2]])
  exact = math.exp(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
  assert scores.inception_score(logits).mean == pytest.approx(exact, rel=1e-12)


def test_parts_cover_every_image_once():
  for parts, sizes in (
    (scores.Consecutive(size=4), [4, 4, 3]),
    (scores.Shares(count=3), [3, 4, 4]),
    (scores.SCORE_SDE, [11]),
  ):
    found = parts(11)
    assert [len(part) for part in found] == sizes
    assert sorted(np.concatenate(found)) == list(range(11))
  np.testing.assert_array_equal(scores.Consecutive(size=4)(11)[1], [4, 5, 6, 7])


@pytest.mark.parametrize(
  ('parts', 'name'),
  [
    (scores.TORCH_FIDELITY, 'shuffled'),
    (scores.Shares(seed=None), 'plain'),
    (scores.Shares(count=1), 'one'),
  ],
)
def test_torch_fidelity(golden, parts, name):
  got = scores.inception_score(golden['is_logits'], parts)
  exact = golden[f'is_{name}_mean'], golden[f'is_{name}_std']
  np.testing.assert_allclose(got, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
  ('parts', 'name'),
  [(scores.ADM, 'split5000'), (scores.Consecutive(size=100), 'split100')],
)
def test_adm(golden, parts, name):
  got = scores.inception_score(golden['is_logits'], parts)
  assert got.mean == pytest.approx(float(golden[f'is_adm_{name}']), rel=1e-6)


def test_many_images_are_summed_in_rows():
  logits = np.random.default_rng(0).normal(size=(9000, 3))
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  exact = np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), axis=1)))
  assert scores.inception_score(logits).mean == pytest.approx(exact, rel=1e-12)


def test_more_parts_than_images_are_refused():
  with pytest.raises(errors.DataError, match='10 parts'):
    scores.inception_score(np.zeros((9, 2)), scores.TORCH_FIDELITY)


def test_clip_score_by_hand():
  images = [[3.0, 0], [0, 2], [1, 1]]
  captions = [[5.0, 0], [0, -1], [1, 0]]
  cosines = 1, -1, math.sqrt(0.5)
  assert scores.clip_score(images, captions) == pytest.approx(sum(cosines) / 3)
  clamped = scores.clip_score(images, captions, weight=2.5, clamp=True)
  assert clamped == pytest.approx(2.5 * (1 + math.sqrt(0.5)) / 3)


@pytest.mark.parametrize(
  ('captions', 'match'),
  [(np.ones((2, 2)), 'pair up'), (np.zeros((3, 2)), 'no direction')],
)
def test_captions_that_do_not_pair_up_are_refused(captions, match):
  with pytest.raises(errors.DataError, match=match):
    scores.clip_score(np.ones((3, 2)), captions)
