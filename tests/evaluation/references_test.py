"""References: images, and statistics of difjax and of other tools."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from difjax import errors, metrics
from difjax.evaluation import (
  feature_nets,
  figures,
  gathered,
  image_set,
  references,
)

RNG = np.random.default_rng(0)
MADE = RNG.integers(0, 256, (300, 3, 3, 1), np.uint8)
REAL = RNG.integers(30, 220, (400, 3, 3, 1), np.uint8)
HOW = figures.Figures(subsets=5, subset=100, draws=0)
NET = feature_nets.Pixels().load()


def flat(images):
  return images.reshape(len(images), -1) / 255


class Other:
  """Another network, as far as anybody is told."""

  names, facts = NET.names, {**NET.facts, 'title': 'x'}


def test_statistics_are_saved_and_read(tmp_path):
  real = image_set.of_array(REAL)
  known = references.write(tmp_path / 's.npz', real, NET)
  reference = references.read(tmp_path / 's.npz')
  assert reference.facts['sha256'] == real.fingerprint
  assert (reference.facts['count'], reference.images) == (400, None)
  assert 'network' not in reference.facts
  read = reference.compute(NET)
  np.testing.assert_array_equal(read.pooled.covariance, known.pooled.covariance)
  got = figures.measure(
    gathered.gather(image_set.of_array(MADE), NET), read, NET.names, HOW
  )
  whole = figures.measure(
    gathered.gather(image_set.of_array(MADE), NET),
    references.of_images(real).compute(NET), NET.names, HOW,
  ).figures  # fmt: skip
  assert got.figures['fd_pixels'].value == whole['fd_pixels'].value
  assert 'statistics alone' in got.left_out['kd_pixels']
  assert any(name.startswith('precision') for name in got.left_out)
  with pytest.raises(errors.DataError, match=r'another network .*title'):
    reference.compute(Other())


@pytest.mark.parametrize('written', [False, True])
def test_images_are_decoded_once(written, tmp_path):
  """Their sha256 is that of the reading that made the features."""
  left = [REAL]
  whole = image_set.of_array(REAL)
  real = dataclasses.replace(whole, parts=lambda: iter([left.pop()]))
  if written:
    references.write(tmp_path / 's.npz', real, NET)
  reference = references.of_images(real)
  if not written:
    reference.compute(NET)
  assert reference.facts['sha256'] == whole.fingerprint


def test_statistics_of_another_tool(tmp_path):
  x = flat(REAL)
  np.savez(
    tmp_path / 's.npz', mu=x.mean(0), sigma=np.cov(x, rowvar=False)
  )
  reference = references.read(tmp_path / 's.npz')
  assert reference.facts['kind'] == 'statistics'
  assert reference.facts['count'] is None
  assert reference.facts['network'] == 'unknown'
  np.testing.assert_array_equal(reference.compute(NET).pooled.mean, x.mean(0))
  np.savez(tmp_path / 't.npz', mu=np.zeros(5), sigma=np.eye(5))
  other = references.read(tmp_path / 't.npz').compute(NET)
  with pytest.raises(errors.DataError, match=r'9 entries .* reference 5'):
    figures.measure(
      gathered.gather(image_set.of_array(MADE), NET), other, NET.names, HOW
    )


@pytest.mark.parametrize('number', ['NaN', '-Infinity', '1e999'])
def test_notes_that_no_card_can_have(number, tmp_path):
  law = metrics.Moments.of(flat(REAL))
  about = f'{{"images": {{"sha256": {number}}}}}'
  metrics.write_statistics(tmp_path / 's.npz', law, None, about)
  facts = references.read(tmp_path / 's.npz').facts
  assert len(json.loads(json.dumps(facts, allow_nan=False))['sha256']) == 64


@pytest.mark.parametrize(
  ('ours', 'found'),
  [
    ('fd_dinov2', True), ('fd_dinov2_0123abcd', True), ('fd_dinov2_b', False),
    ('fd_dinov2_0123abcd_x', False), ('fid', False), ('fd', False),
  ],
)  # fmt: skip
def test_statistics_are_of_the_network_that_they_name(ours, found, tmp_path):
  class Named:
    names, facts = feature_nets.Names(distance=ours), {}

  (tmp_path / 'a.pkl').write_bytes(b'')
  law = metrics.Reference(pooled=metrics.Moments.of(flat(REAL)).gaussian)
  reference = references.of_networks(tmp_path / 'a.pkl', {'fd_dinov2': law})
  if found:
    assert reference.compute(Named()).pooled is law.pooled
    return
  with pytest.raises(errors.DataError, match=f'not for {ours}: use a network'):
    reference.compute(Named())


def test_a_part_that_is_called_fd_is_of_no_network(tmp_path):
  (tmp_path / 'a.pkl').write_bytes(b'')
  law = metrics.Reference(pooled=metrics.Moments.of(flat(REAL)).gaussian)
  with pytest.raises(errors.DataError, match='for fd, and not for fd_pixels'):
    references.of_networks(tmp_path / 'a.pkl', {'fd': law}).compute(NET)


def test_a_batch_of_adm_has_statistics_and_images(tmp_path):
  np.savez(tmp_path / 'a.npz', REAL, mu=np.zeros(9), sigma=np.eye(9))
  read = references.read(tmp_path / 'a.npz').compute(NET)
  np.testing.assert_array_equal(read.pooled.mean, np.zeros(9))
  np.testing.assert_allclose(read.features, flat(REAL), rtol=1e-6)


def test_statistics_of_several_networks(tmp_path):
  """As a pickle of EDM2 has them: the name of the distance decides."""
  (tmp_path / 'two.pkl').write_bytes(b'')
  x = flat(REAL)
  law = metrics.Moments.of(x)
  of = lambda gaussian: metrics.Reference(pooled=gaussian, count=400)
  shifted = metrics.Gaussian(law.gaussian.mean + 1, law.gaussian.covariance)
  known = {'fid': of(shifted), 'fd_pixels': of(law.gaussian)}
  reference = references.of_networks(tmp_path / 'two.pkl', known)
  assert reference.facts['count'] == 400
  read = reference.compute(NET)
  np.testing.assert_array_equal(read.pooled.mean, law.mean)
  del known['fd_pixels']
  with pytest.raises(errors.DataError, match='for fid, and not for fd_pixels'):
    references.of_networks(tmp_path / 'two.pkl', known).compute(NET)
