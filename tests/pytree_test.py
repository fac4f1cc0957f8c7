"""Names, sizes and fingerprints of parameter trees."""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from difjax import pytree

TREE = {
  'block_0': {'kernel': np.ones((2, 3), np.float32), 'bias': np.zeros(3)},
  'head': [np.int32(4), np.arange(2)],
}


def test_names_are_paths():
  assert [name for name, _ in pytree.named_leaves(TREE)] == [
    'block_0/bias', 'block_0/kernel', 'head/0', 'head/1',
  ]  # fmt: skip


def test_leaves_come_with_their_names():
  leaves = dict(pytree.named_leaves(TREE))
  assert leaves['block_0/kernel'] is TREE['block_0']['kernel']


def test_map_sees_names():
  named = pytree.map_named(lambda name, leaf: (name, np.shape(leaf)), TREE)
  assert named['block_0']['kernel'] == ('block_0/kernel', (2, 3))
  assert named['head'][1] == ('head/1', (2,))


def test_count_counts_arrays_and_shapes():
  assert pytree.count(TREE) == 6 + 3 + 1 + 2
  shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, TREE))
  assert pytree.count(shapes) == 12
  assert pytree.count({}) == 0


def test_digest_by_hand():
  by_hand = hashlib.sha256()
  by_hand.update(b'a float32 (2,)\n' + np.asarray([1, 2], '<f4').tobytes())
  by_hand.update(b'b/c int32 ()\n' + np.asarray(7, '<i4').tobytes())
  tree = {'b': {'c': jnp.int32(7)}, 'a': jnp.asarray([1.0, 2.0])}
  assert pytree.digest(tree) == by_hand.hexdigest()


def test_digest_sees_everything():
  base = {'a': np.arange(4, dtype=np.float32)}
  others = [
    {'b': base['a']},
    {'a': base['a'].reshape(2, 2)},
    {'a': base['a'].astype(np.float64)},
    {'a': base['a'].view(np.int32)},
    {'a': np.nextafter(base['a'], 9)},
    {'a': -1.0 * np.asarray([-0.0, -1, -2, -3], np.float32) * 1},
  ]
  digests = {pytree.digest(tree) for tree in others[:-1]}
  assert len(digests) == 5
  assert pytree.digest(base) not in digests
  assert pytree.digest(others[-1]) == pytree.digest(base)  # the same bits


def test_digest_does_not_see_the_devices():
  array = np.arange(8.0, dtype=np.float32)
  mesh = jax.make_mesh((8,), ('data',))
  spread = jax.device_put(
    array, jax.NamedSharding(mesh, jax.P('data'))
  )
  assert len(spread.sharding.device_set) == 8
  assert pytree.digest({'a': spread}) == pytree.digest({'a': array})
