import gzip
import pathlib
import struct

import numpy as np
import pytest

from difjax import errors
from difjax.data import idx

FASHION = pathlib.Path(__file__).parents[2].parent / 'shared/data/fashion_mnist'


def header(*shape, kind=8):
  return struct.pack(f'>BBBB{len(shape)}I', 0, 0, kind, len(shape), *shape)


def write(path, data, packed=False):
  path.write_bytes(gzip.compress(data) if packed else data)
  return str(path)


@pytest.mark.parametrize('packed', [False, True])
def test_reads_what_the_format_says(tmp_path, packed):
  images = write(
    tmp_path / 'images', header(3, 2, 2) + bytes(range(12)), packed
  )
  labels = write(tmp_path / 'labels', header(3) + bytes([7, 0, 9]), packed)
  mnist = idx.Idx(images=images, labels=labels)
  assert len(mnist) == 3
  assert mnist.shape == (2, 2, 1)
  assert mnist[1]['image'][..., 0].tolist() == [[4, 5], [6, 7]]
  assert mnist[2]['label'] == 9
  assert mnist[2]['label'].dtype == np.int32
  assert mnist.num_classes == 10
  part = idx.Idx(images=images, labels=labels, start=1, stop=3)
  assert part.arrays['label'].tolist() == [0, 9]
  assert idx.Idx(images=images).num_classes == 0


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    (b'', 'no idx file'),
    (b'\x89PNG' + bytes(40), '89504e47'),
    (header(3, 2, 2, kind=13) + bytes(12), 'unsigned bytes'),
    (header(12) + bytes(12), '3 dimensions'),
    (header(3, 2, 2) + bytes(11), '11 values'),
    (header(2**31, 2**31, 4) + bytes(12), '12 values'),
    (gzip.compress(header(3, 2, 2) + bytes(12), mtime=0)[:-4], 'cannot read'),
  ],
)
def test_damage_is_named(tmp_path, data, message):
  path = write(tmp_path / 'images', data)
  with pytest.raises(errors.DataError, match=message) as e:
    len(idx.Idx(images=path))
  assert path in str(e.value)


def test_files_must_belong_together(tmp_path):
  images = write(tmp_path / 'images', header(3, 2, 2) + bytes(12))
  labels = write(tmp_path / 'labels', header(2) + bytes(2))
  with pytest.raises(errors.DataError, match=r'2 labels .* 3 images'):
    len(idx.Idx(images=images, labels=labels))
  with pytest.raises(errors.DataError, match='cannot read'):
    len(idx.Idx(images=str(tmp_path / 'absent')))


@pytest.mark.skipif(not FASHION.exists(), reason='needs shared/data')
def test_fashion_mnist():
  fashion = idx.Idx(
    images=str(FASHION / 't10k-images-idx3-ubyte.gz'),
    labels=str(FASHION / 't10k-labels-idx1-ubyte.gz'),
  )
  assert fashion.arrays['image'].shape == (10_000, 28, 28, 1)
  # Its paper: ten classes, a thousand test images each.
  assert np.bincount(fashion.arrays['label']).tolist() == [1000] * 10
