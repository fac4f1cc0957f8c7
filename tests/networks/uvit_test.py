from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import costs, uvit

NET = uvit.UViT(width=16, depth=4, heads=2, num_classes=3)
X = jax.random.normal(jax.random.key(0), (2, 4, 6, 1))
NOISE = jnp.array([1.5, 400.0])
LABEL = {'label': jnp.array([0, 2])}

# Compiling is what these tests cost; the arithmetic is the same.
jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': 0})


@pytest.fixture(scope='module')
def params():
  """Every parameter moved, so that nothing hides behind a zero."""
  shapes = jax.eval_shape(NET.init, jax.random.key(1), X, NOISE, LABEL)
  draw = np.random.default_rng(0).normal
  return jax.tree.map(
    lambda a: draw(0, 0.2, a.shape).astype(np.float32), shapes)


@pytest.mark.parametrize(('fields', 'shape', 'count'), [
  (dict(), (32, 32, 3), 44_255_328),
  (dict(width=1024, depth=20, heads=16, num_classes=1000), (32, 32, 4),
   286_763_172),
  (dict(width=1152, depth=28, heads=16, num_classes=1000, final_conv=False),
   (32, 32, 4), 500_832_016),
], ids=['S/2', 'L/2', 'H/2'])  # fmt: skip
def test_published_parameter_counts(fields, shape, count):
  """CIFAR-10's S/2, ImageNet-256's L/2 and H/2 on latents."""
  shapes = jax.eval_shape(
    uvit.UViT(**fields).init, jax.random.key(0), jnp.zeros((1, *shape)),
    jnp.zeros(1))
  assert sum(a.size for a in jax.tree.leaves(shapes)) == count


def _norm(x, p):
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
  return x * p['scale'] + p['bias']


def _linear(x, p):
  return x @ p['kernel'] + p.get('bias', 0)


def _block(x, p, remembered=None):
  """A block of the paper on tokens [N, D], in numpy."""
  if remembered is not None:
    x = _linear(np.concatenate([x, remembered], -1), p['skip'])
  q, k, v = np.split(
    _linear(_norm(x, p['norm_0']), p['attention']['qkv']), 3, axis=-1)
  heads = []
  for part in (slice(0, 8), slice(8, 16)):
    weight = np.exp(q[:, part] @ k[:, part].T / 8**0.5)
    heads.append(weight / weight.sum(-1, keepdims=True) @ v[:, part])
  x = x + _linear(np.concatenate(heads, -1), p['attention']['out'])
  h = _linear(_norm(x, p['norm_1']), p['mlp_hidden'])
  erf = np.vectorize(math.erf)
  return x + _linear(h * (1 + erf(h / 2**0.5)) / 2, p['mlp_out'])


def _by_hand(x, noise, label, p):
  """The network without its last convolution, of one image."""
  patches = [x[i:i + 2, j:j + 2].ravel()
             for i in range(0, 4, 2) for j in range(0, 6, 2)]
  phase = noise * 1e4 ** (-np.arange(8) / 8)
  tokens = np.concatenate([
    p['label']['table']['embedding'][label][None],
    np.concatenate([np.cos(phase), np.sin(phase)])[None],
    _linear(np.stack(patches), p['patch_in'])])
  h, remembered = tokens + p['positions'][0], []
  part = lambda name, i: jax.tree.map(lambda a: a[i], p[name])
  for i in range(2):
    h = _block(h, part('first', i))
    remembered.append(h)
  h = _block(h, p['middle'])
  for i in range(2):
    h = _block(h, part('second', i), remembered.pop())
  out = _linear(_norm(h, p['norm']), p['patch_out'])[2:]
  return out.reshape(2, 3, 2, 2).swapaxes(1, 2).reshape(4, 6, 1)


@pytest.mark.usefixtures('x64')
def test_by_hand(params):
  p = jax.tree.map(np.float64, params['params'])
  del p['final']
  x, noise = np.float64(X), np.float64(NOISE)
  out = jit(NET.clone(final_conv=False).apply)({'params': p}, x, noise, LABEL)
  for i in range(2):
    expected = _by_hand(x[i], noise[i], int(LABEL['label'][i]), p)
    np.testing.assert_allclose(out[i], expected, rtol=1e-6, atol=1e-7)


def test_the_last_convolution_is_over_the_image(params):
  last = params['params']['final']
  before = {name: a for name, a in params['params'].items() if name != 'final'}
  out = jit(NET.clone(final_conv=False).apply)({'params': before}, X, NOISE)
  blurred = jax.scipy.signal.correlate2d(
    out[0, ..., 0], last['kernel'][..., 0, 0], mode='same') + last['bias']
  whole = jit(NET.apply)(params, X, NOISE)
  np.testing.assert_allclose(whole[0, ..., 0], blurred, rtol=1e-4, atol=1e-5)


def test_recomputing_changes_nothing(params):
  def loss(net):
    return jit(jax.grad(
      lambda p: jnp.square(net.apply(p, X, NOISE, LABEL) - 1).mean()))(params)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    loss(NET), loss(NET.clone(remat=True)))


@pytest.mark.parametrize(
  ('sizes', 'patch'), [((6,), (3,)), ((4, 2, 6), (2, 1, 3))])
def test_grids_of_any_rank(sizes, patch):
  net = NET.clone(patch=patch)
  x = jnp.zeros((2, *sizes, 3))
  out, _ = jax.eval_shape(
    net.init_with_output, jax.random.key(0), x, jnp.zeros(2))
  assert out.shape == x.shape


def test_multiply_accumulates_by_hand():
  """Of products alone: tokens T of width D, in 13 blocks of which 6 skip."""
  tokens, width = 256 + 1, 512
  block = 12 * width**2 * tokens + 2 * width * tokens**2
  skips = 6 * 2 * width**2 * tokens
  ends = 256 * 12 * width * 2 + 32 * 32 * 9 * 3 * 3
  found = costs.of_network(
    uvit.UViT(), jnp.zeros((1, 32, 32, 3)), jnp.zeros(1))
  assert found == 13 * block + skips + ends


def test_an_odd_depth_is_refused():
  with pytest.raises(ValueError, match='depth 3 has no two halves'):
    NET.clone(depth=3).init(jax.random.key(0), X, NOISE)
