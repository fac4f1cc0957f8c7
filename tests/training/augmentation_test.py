"""EDM's augmentation against whole-pixel moves and its own labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from difjax import objectives, training
from difjax.training import augmentation

warp = jax.jit(augmentation.warp)
IMAGE = np.random.default_rng(0).normal(size=(12, 12, 3)).astype(np.float32)
SMOOTH = np.linspace(-2, 2, 24)


def close(found, expected, room=1e-5):
  np.testing.assert_allclose(found, expected, rtol=0, atol=room)


def turned(quarters):
  angle = np.pi / 2 * quarters
  cos, sin = np.cos(angle), np.sin(angle)
  return np.array([[cos, -sin], [sin, cos]], np.float32)


def test_filters_undo_each_other():
  """To a twelfth digit, that of the published coefficients."""
  down, up = (
    np.concatenate([half[:0:-1], half])
    for half in (augmentation._DOWN, augmentation._UP))
  product = np.convolve(down, up)
  middle = len(product) // 2
  assert product[middle] == pytest.approx(1, abs=1e-11)
  others = np.delete(product[middle % 2::2], middle // 2)
  np.testing.assert_allclose(others, 0, atol=1e-11)
  assert (sum(down), sum(up)) == pytest.approx((1, 2), abs=1e-11)


@pytest.mark.parametrize('size', [(12, 12), (5, 7)])
def test_nothing_done(size):
  image = IMAGE[: size[0], : size[1]]
  close(warp(image, jnp.eye(2), jnp.zeros(2)), image)


@pytest.mark.parametrize(('right', 'down'), [(-2, 0), (3, -1), (0, 4)])
def test_whole_pixels(right, down):
  """Beyond the edges is the mirror image, the edge itself but once."""
  found = warp(
    IMAGE, jnp.eye(2), jnp.asarray([right, down], jnp.float32))
  wide = np.pad(IMAGE, ((6, 6), (6, 6), (0, 0)), mode='reflect')
  close(found, wide[6 - down:18 - down, 6 - right:18 - right])


@pytest.mark.parametrize('quarters', [1, 2, 3])
def test_right_angles(quarters):
  """Clockwise, for y points downwards."""
  found = warp(IMAGE, turned(quarters), jnp.zeros(2))
  close(found, np.rot90(IMAGE, -quarters))


def test_mirror_images():
  for axis, signs in ((1, [-1.0, 1.0]), (0, [1.0, -1.0])):
    found = warp(IMAGE, jnp.diag(jnp.array(signs)), jnp.zeros(2))
    close(found, np.flip(IMAGE, axis))


def test_a_smooth_image_moves_as_its_formula():
  """At A (p - c) + b there is what was at p."""
  pattern = lambda x, y: np.cos(1.1 * x + 0.4) * np.sin(0.7 * y - 0.2)
  y, x = np.meshgrid(SMOOTH, SMOOTH, indexing='ij')
  step = SMOOTH[1] - SMOOTH[0]
  matrix = 1.2 * turned(0.3) @ np.diag([1.1, 1 / 1.1]).astype(np.float32)
  shift = np.array([1.3, -0.6])
  found = warp(
    pattern(x, y)[..., None].astype(np.float32), jnp.asarray(matrix),
    jnp.asarray(shift, jnp.float32))[..., 0]
  back = np.linalg.inv(matrix)
  x, y = x - shift[0] * step, y - shift[1] * step
  expected = pattern(
    back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y)
  close(found[6:-6, 6:-6], expected[6:-6, 6:-6], 0.01)


def test_labels_say_what_was_done():
  """One image, and the parameters that its nine labels give back.

  They tell stretching but from its inverse across: a_5 is above zero here.
  """
  augment = training.Augmentation(probability=1.0)
  draws = augment.draw(jax.random.key(1))
  draws = draws.at[5].set(abs(draws[5]))
  label = np.asarray(augmentation.labels(draws), np.float64)
  assert label.shape == (augmentation.LABELS,) and draws[2:].all()
  turn = np.arctan2(label[4], label[3] + 1)
  amount, along = np.hypot(*label[5:7]), np.arctan2(label[6], label[5])
  rotation = lambda a: np.array([[np.cos(a), -np.sin(a)],
                                 [np.sin(a), np.cos(a)]])
  scale, stretch = 2 ** (0.2 * label[2]), 2 ** (0.2 * amount)
  stretched = (
    rotation(along) @ np.diag([stretch, 1 / stretch]) @ rotation(along).T)
  matrix = scale * stretched @ rotation(turn)
  image = IMAGE[:, ::-1] if label[0] else IMAGE
  image = image[::-1] if label[1] else image
  expected = warp(
    image, matrix.astype(np.float32), (label[7:] * 12 / 8).astype(np.float32))
  close(jax.jit(augment.warped)(IMAGE, draws), expected, 1e-4)


def test_what_is_left_alone_is_marked_by_zeros():
  """Every image has draws of its own, by its row."""
  augment, key = training.Augmentation(probability=0.2), jax.random.key(0)
  batch = {'image': np.stack([IMAGE] * 64), 'label': np.arange(64)}
  found = jax.jit(augment)(batch, key)
  label, image = np.asarray(found['augment']), np.asarray(found['image'])
  untouched = ~label.any(1)
  assert 0 < untouched.sum() < 64
  np.testing.assert_array_equal(image[untouched], batch['image'][untouched])
  assert all((image[i] != IMAGE).any() for i in np.flatnonzero(~untouched))
  np.testing.assert_array_equal(found['label'], batch['label'])
  fifth = augment.draw(jax.random.fold_in(key, 5))
  close(label[5], augmentation.labels(fifth))


def test_without_any_chance_images_stay():
  batch = {'image': np.stack([IMAGE] * 8)}
  found = jax.jit(training.Augmentation(probability=0.0))(
    batch, jax.random.key(0))
  np.testing.assert_array_equal(found['image'], batch['image'])
  assert found['augment'].shape == (8, 9) and not found['augment'].any()


def test_labels_by_hand():
  """Two mirrors, scale, cosine - 1 and sine, twice the stretch, two moves."""
  draws = np.array([1, 0, 0.5, np.pi / 2, np.pi / 6, -2, 0.25, -0.75])
  close(augmentation.labels(draws), [
    1, 0, 0.5, -1, 1, -np.sqrt(3), -1, 0.25, -0.75])


def test_rates_of_the_parts():
  augment = training.Augmentation(probability=0.12)
  keys = jax.random.split(jax.random.key(0), 20_000)
  draws = jax.jit(jax.vmap(augment.draw))(keys)
  rates = np.mean(np.asarray(draws) != 0, axis=0)
  expected = [0.5, 0.06, 0.12, 0.12, 0.12, 0.12, 0.12, 0.12]
  np.testing.assert_allclose(rates, expected, atol=0.012)
  moved = np.asarray(draws)[:, [2, 5, 6]]
  spread = [column[column != 0].std() for column in moved.T]
  np.testing.assert_allclose(spread, 1, atol=0.06)


def test_chances_that_are_none():
  with pytest.raises(ValueError, match='a rate'):
    training.Augmentation(probability=1.5)


class Watching(objectives.Objective):
  """An objective that learns nothing and tells the labels it was given."""

  def init(self, key, batch):
    """One parameter."""
    return {'w': jnp.ones(())}

  def loss(self, params, aux, frozen, batch, key, *, step, ema):
    """Reads the labels of a batch."""
    told = batch.get('augment', jnp.zeros(1))
    return params['w'], ({'told': jnp.sum(told)}, aux)


def test_a_step_draws_by_its_number():
  """The same again after a restart, another in the next step."""
  def told(augment):
    step = training.make_step(
      Watching(), optax.identity(), {}, 0, augment=augment)
    batch = {'image': np.zeros((4, 3, 3, 1), np.uint8)}
    state = training.init_state(Watching(), optax.identity(), {}, batch, 0)
    run, found = jax.jit(step), []
    for _ in range(2):
      again = run(state, batch)[1]['told']
      state, metrics = run(state, batch)
      assert metrics['told'] == again
      found.append(float(again))
    return found

  first, second = told(training.Augmentation(probability=1.0))
  assert first != second and first != 0
  assert told(None) == [0, 0]
