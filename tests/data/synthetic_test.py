import numpy as np

from difjax.data import synthetic


def test_examples_depend_on_seed_and_number():
  noise = synthetic.Synthetic(length=5, height=16, width=8, channels=2)
  assert len(noise) == 5
  assert noise[3]['image'].shape == noise.shape == (16, 8, 2)
  assert noise[3]['image'].dtype == np.uint8
  np.testing.assert_array_equal(noise[3]['image'], noise[3]['image'])
  assert (noise[3]['image'] != noise[4]['image']).mean() > 0.9
  other = synthetic.Synthetic(length=5, height=16, width=8, channels=2, seed=1)
  assert (noise[3]['image'] != other[3]['image']).mean() > 0.9
  assert noise.fingerprint() != other.fingerprint()


def test_labels_are_optional():
  noise = synthetic.Synthetic(classes=3)
  assert [int(noise[i]['label']) for i in range(4)] == [0, 1, 2, 0]
  assert noise.num_classes == 3
  assert set(synthetic.Synthetic(classes=0)[0]) == {'image'}
