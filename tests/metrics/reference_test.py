"""Statistics in files: what other codes wrote, and files that are broken."""

import io
import zipfile

import numpy as np
import pytest

from difjax import errors
from difjax.metrics import reference, statistics

FEATURES = np.random.default_rng(0).normal(size=(20, 4))
MU, SIGMA = FEATURES.mean(0), np.cov(FEATURES.T)
WIDE = np.random.default_rng(1).normal(size=(20, 6))


def saved(tmp_path, **arrays):
  np.savez(tmp_path / 'stats.npz', **arrays)
  return tmp_path / 'stats.npz'


def assert_is(gaussian, mean, covariance):
  np.testing.assert_allclose(gaussian.mean, mean, rtol=1e-12)
  np.testing.assert_allclose(gaussian.covariance, covariance, rtol=1e-12)
  assert gaussian.mean.dtype == gaussian.covariance.dtype == np.float64


@pytest.mark.parametrize(
  'names', [('mu', 'sigma'), ('ref_mu', 'ref_sigma')]
)
def test_mean_and_covariance(tmp_path, names):
  path = saved(tmp_path, **dict(zip(names, (MU, SIGMA), strict=True)))
  found = reference.read_reference(path)
  assert_is(found.pooled, MU, SIGMA)
  assert found.spatial is found.count is found.features is None


def test_adm_batches(tmp_path):
  mu_s, sigma_s = WIDE.mean(0), np.cov(WIDE.T)
  found = reference.read_reference(
    saved(
      tmp_path, mu=MU.astype(np.float32), sigma=SIGMA, mu_s=mu_s,
      sigma_s=sigma_s, arr_0=np.zeros((3, 8, 8, 3), np.uint8),
    )
  )  # fmt: skip
  assert_is(found.pooled, MU.astype(np.float32), SIGMA)
  assert_is(found.spatial, mu_s, sigma_s)


def test_score_sde(tmp_path):
  path = saved(tmp_path, pool_3=FEATURES, logits=WIDE)
  found = reference.read_reference(path)
  assert_is(found.pooled, MU, SIGMA)
  assert found.count == 20
  np.testing.assert_array_equal(found.features, FEATURES)
  np.testing.assert_array_equal(found.logits, WIDE)


def test_what_is_written_has_the_names_that_others_read(tmp_path):
  pooled = statistics.Moments.of(FEATURES)
  spatial = statistics.Moments.of(WIDE)
  path = tmp_path / 'new' / 'stats.npz'
  reference.write_statistics(path, pooled, spatial)
  with np.load(path) as file:  # as pytorch-fid, EDM and ADM do
    np.testing.assert_allclose(file['mu'], MU, rtol=1e-13)
    np.testing.assert_allclose(file['sigma'], SIGMA, rtol=1e-12)
    np.testing.assert_allclose(file['mu_s'], WIDE.mean(0), rtol=1e-13)
    np.testing.assert_allclose(file['sigma_s'], np.cov(WIDE.T), rtol=1e-12)
  found = reference.read_reference(path)
  assert found.count == 20
  merged = statistics.Moments.of_gaussian(found.pooled, found.count)
  np.testing.assert_allclose(merged.scatter, pooled.scatter, rtol=1e-14)
  reference.write_meanflow(path, pooled)
  with np.load(path) as file:
    np.testing.assert_allclose(file['ref_mu'], MU, rtol=1e-13)
    np.testing.assert_allclose(file['ref_sigma'], SIGMA, rtol=1e-12)
  reference.write_features(path, FEATURES, WIDE)
  with np.load(path) as file:
    np.testing.assert_array_equal(file['pool_3'], FEATURES)
    np.testing.assert_array_equal(file['logits'], WIDE)
  assert [p.name for p in path.parent.iterdir()] == ['stats.npz']


def one_line(error):
  text = str(error.value)
  assert '\n' not in text
  assert 'stats.npz' in text


@pytest.mark.parametrize(
  ('arrays', 'match'),
  [
    ({'mean': MU, 'cov': SIGMA}, 'holds cov, mean'),
    ({'mu': MU}, 'no sigma'),
    ({'ref_sigma': SIGMA}, 'no ref_mu'),
    ({'mu': MU, 'sigma': SIGMA, 'mu_s': MU}, 'no sigma_s'),
    ({'arr_0': np.zeros((2, 4, 4, 3), np.uint8)}, 'images and no statistics'),
    ({}, 'holds nothing'),
    ({'mu': MU * np.nan, 'sigma': SIGMA}, 'NaN'),
    ({'mu': MU, 'sigma': SIGMA * np.inf}, 'NaN or infinity'),
    ({'pool_3': FEATURES * np.nan}, 'NaN'),
    ({'pool_3': FEATURES.ravel()}, 'matrix'),
    ({'pool_3': FEATURES, 'logits': WIDE[:3]}, '3 logits'),
    ({'mu': MU, 'sigma': SIGMA[:3, :3]}, 'no mean'),
    ({'mu': MU[None], 'sigma': SIGMA}, 'no mean'),
    ({'mu': MU[:0], 'sigma': SIGMA[:0, :0]}, 'no mean'),
    ({'mu': MU, 'sigma': np.triu(SIGMA)}, 'no covariance'),
    ({'mu': MU, 'sigma': -SIGMA}, 'no covariance'),
    ({'mu': MU, 'sigma': SIGMA.astype(str)}, 'no real numbers'),
    ({'mu': MU, 'sigma': SIGMA + 0j}, 'no real numbers'),
    ({'mu': MU, 'sigma': SIGMA, 'count': -1}, 'count'),
  ],
)
def test_arrays_that_are_no_statistics_are_refused(tmp_path, arrays, match):
  with pytest.raises(errors.DataError, match=match) as error:
    reference.read_reference(saved(tmp_path, **arrays))
  one_line(error)


class Trap:
  """Leaves a mark when it is unpickled."""

  sprung = False

  def __reduce__(self):
    return (setattr, (Trap, 'sprung', True))


def test_pickled_objects_are_refused_and_not_run(tmp_path):
  path = saved(tmp_path, mu=np.array([Trap()], object), sigma=SIGMA)
  with pytest.raises(errors.DataError, match='cannot read') as error:
    reference.read_reference(path)
  one_line(error)
  assert not Trap.sprung


@pytest.mark.parametrize('content', [b'', b'PK', b'\x80\x04N.', b'text\n' * 99])
def test_what_is_no_npz_is_refused(tmp_path, content):
  path = tmp_path / 'stats.npz'
  with pytest.raises(errors.DataError, match='cannot read') as error:
    reference.read_reference(path)
  one_line(error)
  path.write_bytes(content)
  with pytest.raises(errors.DataError, match='cannot read') as error:
    reference.read_reference(path)
  one_line(error)


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_a_file_cut_short_or_damaged_anywhere_is_one_clear_line(tmp_path, save):
  buffer = io.BytesIO()
  save(buffer, mu=MU, sigma=SIGMA)
  whole, path = buffer.getvalue(), tmp_path / 'stats.npz'
  for length in range(0, len(whole), 53):
    path.write_bytes(whole[:length])
    with pytest.raises(errors.DataError) as error:
      reference.read_reference(path)
    one_line(error)
  rng = np.random.default_rng(2)
  for place in rng.integers(0, len(whole), 150):
    damaged = bytearray(whole)
    damaged[place] ^= int(rng.integers(1, 256))
    path.write_bytes(damaged)
    try:  # a flag that nobody reads may change
      assert_is(reference.read_reference(path).pooled, MU, SIGMA)
    except errors.DataError as error:
      assert '\n' not in str(error)


def test_an_array_that_claims_more_than_it_holds_is_refused(tmp_path):
  header = (
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (9000000000000,), }"
  )
  path = tmp_path / 'stats.npz'
  with zipfile.ZipFile(path, 'w') as file:
    size = len(header).to_bytes(2, 'little')
    file.writestr('mu.npy', b'\x93NUMPY\x01\x00' + size + header)
  with pytest.raises(errors.DataError, match='cannot read') as error:
    reference.read_reference(path)
  one_line(error)


def test_writing_names_what_is_wrong(tmp_path):
  with pytest.raises(errors.DataError, match='NaN'):
    reference.write_features(tmp_path / 'a.npz', FEATURES * np.nan)
  moments = statistics.Moments.of(FEATURES)
  with pytest.raises(errors.DataError, match=r'in \.npz'):
    reference.write_statistics(tmp_path / 'a.pkl', moments)
  (tmp_path / 'file').touch()
  with pytest.raises(errors.DataError, match='cannot write'):
    reference.write_statistics(tmp_path / 'file' / 'a.npz', moments)
  assert [p.name for p in tmp_path.iterdir()] == ['file']
