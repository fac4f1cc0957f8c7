"""The ResNets of CIFAR-10 with their real weights on real images."""

from __future__ import annotations

import functools
import operator
import pathlib

import numpy as np
import pytest
from PIL import Image

from difjax import config, errors
from difjax.interop import feature_files, resnet

DATA = pathlib.Path(__file__).parents[2].parent / 'shared/data'
WEIGHTS = DATA / 'resnet_cifar10'
LOGITS = operator.attrgetter('logits')


@functools.cache
def test_images(sheets):
  """The first test images, 2,000 a sheet, and their labels."""
  if not WEIGHTS.is_dir():
    pytest.skip(f'{WEIGHTS} is not there: no real weights')
  pages = [
    np.asarray(Image.open(DATA / f'cifar10/test_{i:02d}.webp').convert('RGB'))
    for i in range(sheets)]
  images = [
    page.reshape(40, 32, 50, 32, 3).transpose(0, 2, 1, 3, 4) for page in pages]
  images = np.concatenate(images).reshape(-1, 32, 32, 3)
  return images, np.fromfile(DATA / 'cifar10/test_labels.u8', np.uint8)[
    :len(images)]


test_images.__test__ = False


def correct(published, images, labels, batch):
  extractor = resnet.load(WEIGHTS / published.file, published)
  assert extractor.published
  logits = extractor(images, LOGITS, batch=batch)
  return (logits.argmax(-1) == labels).mean()


def test_some_real_images_are_recognised():
  images, labels = test_images(1)
  assert correct(resnet.RESNET_20, images[:200], labels[:200], 100) > 0.87


def test_features_are_what_the_last_layer_reads():
  images, _ = test_images(1)
  path = WEIGHTS / resnet.RESNET_20.file
  net = config.build(
    {'type': 'interop.Resnet', 'path': str(path), 'batch': 8}, trusted=False
  ).load()
  whole = resnet.load(path)
  found = np.concatenate([part.pooled for part in net([images[:12]])])
  last = whole.params['linear']
  np.testing.assert_allclose(
    found @ last['kernel'] + last['bias'], whole(images[:12], LOGITS),
    atol=1e-4,
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  ('published', 'accuracy'),
  [(resnet.RESNET_20, 0.9173), (resnet.RESNET_56, 0.9339)])
def test_published_accuracy(published, accuracy):
  images, labels = test_images(5)
  assert len(images) == 10_000
  found = correct(published, images, labels, 250)
  assert found == pytest.approx(accuracy, abs=1e-9)


def test_arrays_of_another_network_are_refused(tmp_path):
  names = {'module.layer1.0.conv1.weight': np.zeros((16, 16, 3, 3), 'f')}
  found = feature_files.Found(path=tmp_path / 'a', sha256='', arrays=names)
  with pytest.raises(errors.CheckpointError, match=r'lacks conv1\.weight'):
    resnet.params(found)
  found = feature_files.Found(path=tmp_path / 'a', sha256='', arrays={})
  with pytest.raises(errors.CheckpointError, match='no ResNet of CIFAR-10'):
    resnet.params(found)
