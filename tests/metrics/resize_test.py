"""Resizes against Pillow and against their definitions by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from difjax.metrics import resize


@pytest.mark.parametrize('new', [7, 16, 29, 80])
@pytest.mark.parametrize('size', [(16, 16), (33, 21)])
def test_bicubic_is_that_of_pillow_on_floats(size, new):
  images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
  ours = resize.CLEAN_FID(images, (new, new)) * 128 + 128
  for image, mine in zip(images, ours, strict=True):
    planes = [
      Image.fromarray(image[..., i].astype(np.float32)).resize(
        (new, new), Image.Resampling.BICUBIC)
      for i in range(3)]
    truth = np.stack([np.asarray(plane) for plane in planes], -1)
    np.testing.assert_allclose(mine, np.clip(truth, 0, 255), atol=2e-4)


def test_clean_fid_clips_what_the_cubic_overshoots():
  edge = np.repeat(np.array([0, 255], np.uint8), 4).reshape(1, 1, 8, 1)
  free = dataclasses.replace(resize.CLEAN_FID, clipped=False)
  assert abs(free(edge, (1, 16))).max() > 1.05
  found = resize.CLEAN_FID(edge, (1, 16))
  assert found.min() == -1
  assert found.max() == 127 / 128


def test_bilinear_at_the_corner_reads_where_the_ratio_says():
  row = np.array([0.0, 10.0, 40.0])
  places = resize.corner_bilinear(3, 6) @ row  # at 0, 0.5, 1, 1.5, 2, 2.5
  np.testing.assert_allclose(places, [0, 5, 10, 25, 40, 40])


def test_bilinear_at_the_centre_reads_half_a_pixel_aside():
  row = np.array([0.0, 10.0, 40.0])  # at 0, 0.25, 0.75, 1.25, 1.75, 2
  places = resize.centre_bilinear(3, 6) @ row
  np.testing.assert_allclose(places, [0, 2.5, 7.5, 17.5, 32.5, 40])


@pytest.mark.parametrize(
  'matrix', [resize.corner_bilinear, resize.centre_bilinear])
def test_bilinear_skips_pixels_when_it_shrinks(matrix):
  assert ((matrix(100, 10) > 0).sum(axis=1) <= 2).all()


@pytest.mark.parametrize(
  'matrix',
  [resize.corner_bilinear, resize.centre_bilinear, resize.antialiased_bicubic])
def test_the_same_size_is_left_alone(matrix):
  np.testing.assert_allclose(matrix(9, 9), np.eye(9), atol=1e-12)


def test_ranges():
  grey = np.array([0, 128, 255], np.uint8).reshape(3, 1, 1, 1)
  scale = lambda convention: np.ravel(convention(grey, (1, 1)))
  np.testing.assert_allclose(scale(resize.TENSORFLOW), [-1, 0, 127 / 128])
  np.testing.assert_allclose(
    scale(resize.PYTORCH_FID), [-1, 1 / 255, 1], atol=1e-7)
  np.testing.assert_allclose(
    scale(resize.SCORE_SDE), [-1, 1 / 255, 1], atol=1e-7)
