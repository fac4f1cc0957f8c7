import numpy as np

from difjax.data import mapped, synthetic, transforms

WHOLE = synthetic.Synthetic(
  length=5, height=8, width=8, channels=1, classes=3
)


def _scaled(size):
  return mapped.Mapped(
    source=WHOLE, transforms=(transforms.Resize(size=size),)
  )


def test_every_reader_sees_the_transformed_images():
  scaled = _scaled(4)
  assert (len(scaled), scaled.shape) == (5, (4, 4, 1))
  expected = transforms.Resize(size=4)(WHOLE[3], None)
  np.testing.assert_array_equal(scaled[3]['image'], expected['image'])
  np.testing.assert_array_equal(
    scaled.take(np.array([3]))['image'][0], expected['image']
  )
  assert scaled[3]['label'] == WHOLE[3]['label']
  assert scaled.num_classes == WHOLE.num_classes


def test_a_random_transform_reads_the_same_every_time():
  flipped = mapped.Mapped(source=WHOLE, transforms=(transforms.Flip(),))
  for i in range(5):
    np.testing.assert_array_equal(flipped[i]['image'], flipped[i]['image'])


def test_the_fingerprint_follows_data_and_transforms():
  prints = {_scaled(4).fingerprint(), _scaled(6).fingerprint()}
  assert len({*prints, WHOLE.fingerprint()}) == 3
  assert _scaled(4).fingerprint() in prints
