"""Features beside samples, read as score_sde's evaluation reads them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from flax import linen as nn

from difjax import metrics
from difjax.evaluation import sample_formats, sample_statistics
from difjax.metrics import features, resize
from tests.evaluation import drawn_sets

PIXELS = np.stack([drawn_sets.pixels(i, (6, 6, 3)) for i in range(5, 28)])


class Found(NamedTuple):
  pool_3: jax.Array
  logits: jax.Array
  spatial: jax.Array


class Means(nn.Module):
  """Means of channels, and more that nobody asks for."""

  @nn.compact
  def __call__(self, x):
    return Found(x.mean((1, 2)), 3 * x.mean((1, 2)), x)


def extractor():
  return features.Extractor(
    network=Means(), params={}, convention=resize.CLEAN_FID, size=None,
    sha256='', published=False, family='means')


def test_score_sde_reads_it(tmp_path):
  samples = drawn_sets.whole(tmp_path / 'set')
  sample_formats.write(samples, ['score_sde'])
  folder = sample_statistics.score_sde(samples, extractor(), batch=4)
  drawn, pools, logits = [], [], []
  for i in range(len(samples.blocks)):  # a round of score_sde each
    with np.load(folder / f'samples_{i}.npz') as file:
      drawn.append(file['samples'])
    with np.load(folder / f'statistics_{i}.npz') as file:
      assert sorted(file.files) == ['logits', 'pool_3']
      pools.append(file['pool_3'])
      logits.append(file['logits'])
    assert len(drawn[-1]) == len(pools[-1]) == len(logits[-1])
  assert not (folder / f'statistics_{len(pools)}.npz').exists()
  np.testing.assert_array_equal(np.concatenate(drawn), PIXELS)
  expected = (PIXELS / 127.5 - 1).mean((1, 2))  # its range of values
  np.testing.assert_allclose(np.concatenate(pools), expected, atol=1e-6)
  np.testing.assert_allclose(np.concatenate(logits), 3 * expected, atol=3e-6)
  found = metrics.read_reference(folder / 'statistics_0.npz')
  assert found.count == len(pools[0])
  np.testing.assert_array_equal(found.features, pools[0])


def test_what_is_there_is_not_made_again(tmp_path):
  samples = drawn_sets.whole(tmp_path / 'set')
  folder = sample_statistics.score_sde(
    samples, extractor(), tmp_path / 'elsewhere')
  (folder / 'statistics_0.npz').write_bytes(b'kept')
  (folder / 'statistics_1.npz').unlink()
  sample_statistics.score_sde(samples, extractor(), folder)
  assert (folder / 'statistics_0.npz').read_bytes() == b'kept'
  assert (folder / 'statistics_1.npz').exists()
