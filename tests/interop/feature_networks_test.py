"""Feature networks as configs name them: their figures and their names."""

from __future__ import annotations

import dataclasses
import operator
import pathlib

import numpy as np
import pytest

from difjax import config, errors
from difjax.interop import feature_networks, inception, resnet
from difjax.metrics import features, resize
from difjax.metrics import inception as networks
from tests.interop import inception_test

DATA = pathlib.Path(__file__).parents[2].parent / 'shared/data'
WEIGHTS = DATA / 'resnet_cifar10/resnet20-12fca82f.th'


def found(convention, *, published):
  return features.Extractor(
    network=networks.Inception(), params={}, convention=convention,
    size=(299, 299), sha256='0123456789', published=published,
    family='inception',
  )  # fmt: skip


@pytest.mark.parametrize(
  ('published', 'names'),
  [
    (True, ('fid', 'sfid', 'kid', 'inception_score')),
    (False, tuple(f'{part}_inception_01234567'
                  for part in ('fd', 'sfd', 'kd', 'class_score'))),
  ],
)  # fmt: skip
def test_only_the_published_inception_gives_an_fid(
  published, names, monkeypatch
):
  asked = []

  def load(path, convention):
    asked.append(path)
    return found(convention, published=published)

  monkeypatch.setattr(inception, 'load', load)
  spec = {'type': 'interop.Inception', 'path': 'x', 'convention': 'clean-fid'}
  net = config.build(spec, trusted=False).load()
  assert asked == ['x']
  ours = net.names
  assert (ours.distance, ours.spatial, ours.kernel, ours.score) == names
  assert net.facts == {
    'title': 'inception' if published else 'inception_01234567',
    'weights_sha256': '0123456789', 'published_weights': published,
    'convention': 'clean-fid', 'resize': 'antialiased_bicubic',
    'rounded': False, 'clipped': True,
    'size': [299, 299], 'zero': [128.0], 'unit': [128.0],
    'precision': 'float32, highest',
  }  # fmt: skip


@pytest.mark.parametrize('name', resize.CONVENTIONS)
def test_conventions_by_name(name, monkeypatch):
  monkeypatch.setattr(
    inception, 'load', lambda _, convention: found(convention, published=True)
  )
  net = feature_networks.Inception(convention=name).load()
  assert net.facts['convention'] == name
  way = {field.name for field in dataclasses.fields(resize.Convention)}
  assert way - {'matrix'} <= {*net.facts}  # the matrix is `resize`


def test_a_convention_that_is_none():
  with pytest.raises(errors.ConfigError, match="did you mean 'clean-fid'"):
    feature_networks.Inception(convention='clean_fid')


def test_a_file_that_is_not_there(tmp_path, monkeypatch):
  monkeypatch.setenv('DIFJAX_WEIGHTS', str(tmp_path))
  for network in (feature_networks.Inception(), feature_networks.Resnet()):
    with pytest.raises(errors.DataError, match='is not there: fetch https'):
      network.load()


def test_a_stream_has_the_features_of_one_batch():
  if not WEIGHTS.exists():
    pytest.skip(f'{WEIGHTS} is not there: no real weights')
  net = feature_networks.Resnet(path=str(WEIGHTS), batch=4).load()
  images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
  streamed = [*net([images[:7], images[7:]])]
  assert [len(part.pooled) for part in streamed] == [4, 3, 3]
  whole = resnet.load(WEIGHTS)
  expected = whole(images, operator.itemgetter(0, 1), batch=10)
  for i, name in enumerate(('pooled', 'logits')):
    ours = np.concatenate([getattr(part, name) for part in streamed])
    np.testing.assert_allclose(ours, expected[i], rtol=1e-4, atol=1e-4)
  assert streamed[0].spatial is None and streamed[0].unbiased is None
  assert net.names.distance.startswith('fd_resnet20')


@pytest.mark.slow
@pytest.mark.parametrize(
  ('code', 'convention', 'official'),
  [
    ('tffid', 'tensorflow', {'pooled': '2048', 'logits': 'logits',
                             'unbiased': 'logits_unbiased'}),
    ('ptfid', 'pytorch-fid', {'pooled': '2048', 'spatial': '_spatial7',
                              'unbiased': '_logits_unbiased'}),
  ],
)  # fmt: skip
def test_official_features_of_random_weights(
  code, convention, official, monkeypatch
):
  monkeypatch.setattr(
    inception, 'load', lambda _, way: inception_test.extractor(way)
  )
  net = feature_networks.Inception(convention=convention, batch=3).load()
  with np.load(inception_test.KEPT) as file:
    (ours,) = net([file['images']])  # two images, filled up to three
    for name, theirs in official.items():
      np.testing.assert_allclose(
        getattr(ours, name), file[f'{code}{theirs}'], rtol=0,
        atol=file[f'{code}{theirs}__tolerance'], err_msg=name,
      )  # fmt: skip
