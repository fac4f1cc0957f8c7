"""Where time goes: known programs, told by what they hold."""

import jax
import jax.numpy as jnp
import pytest

from difjax import compilation
from difjax.evaluation import profile


def shares(function, *arguments, **options):
  compiled = jax.jit(function, **options).lower(*arguments).compile()
  call = lambda: jax.block_until_ready(compiled(*arguments))
  call()
  return profile.shares(compiled, call)


def test_a_product_of_large_matrices_is_most():
  found = shares(lambda x: jnp.tanh(x @ x), jnp.ones((512, 512)))
  assert next(iter(found)) == 'matrix products, forward'
  assert found['matrix products, forward'] > 0.5
  assert sum(found.values()) == pytest.approx(1)


def test_gradients_are_told_apart():
  x, w = jnp.ones((4, 16, 16, 8)), jnp.ones((3, 3, 8, 8))

  def loss(w):
    y = jax.lax.conv_general_dilated(
      x, w, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return jnp.sum(jnp.square(y))

  found = shares(jax.grad(loss), w)
  assert found['convolutions, forward'] > 0
  assert found['convolutions, backward'] > 0
  assert not any('products' in kind for kind in found)


def test_a_loop_is_counted_by_what_it_runs():
  step = lambda x, _: (x @ x / 512, None)
  found = shares(
    lambda x: jax.lax.scan(step, x, length=4)[0], jnp.ones((512, 512))
  )
  assert found['matrix products, forward'] > 0.5


def test_what_a_pool_runs_is_counted_until_it_is_done():
  """As we compile on CPUs, a convolution only begins where it is noted."""
  x, w = jnp.ones((16, 64, 64, 32)), jnp.ones((3, 3, 32, 32))

  def convolved(x, w):
    y = jax.lax.conv_general_dilated(
      x, w, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return jnp.tanh(y)

  found = shares(convolved, x, w, compiler_options=compilation.options())
  assert found['convolutions, forward'] > 0.5


def test_cores_are_shared_by_what_is_known():
  span = profile.Span
  own, pooled = span('own', 0.0, 4.0, 4.0), span('pooled', 0.0, 0.0, 6.0)
  other = span('other', 5.0, 5.0, 6.0)
  found = profile._cores([own, pooled, other], 2)
  # own 0 to 4; the pool has one core until then, both after it, and from 5 on
  # two instructions to share them.
  assert dict(found) == {own: 4.0, pooled: 4.0 + 2.0 + 1.0, other: 1.0}


def _noted(name, ts, dur, tid=1, **args):
  return {'name': name, 'ts': ts, 'dur': dur, 'tid': tid, 'args': args}


def test_an_end_is_noted_after_what_follows_it():
  """As XLA does: who finishes an instruction first runs what waited for it."""
  events = [
    {'name': 'a name of a thread', 'args': {}},
    _noted('conv', 0.0, 1.0, hlo_op='conv'),
    _noted('other', 10.0, 5.0, tid=2, hlo_op='other'),
    _noted('end: other', 15.1, 0.1, tid=2),
    _noted('ThreadpoolListener::StartRegion', 20.0, 0.0, tid=2),
    _noted('sort', 52.0, 20.0, tid=2, hlo_op='sort'),
    _noted('end: sort', 72.1, 0.1, tid=2),
    _noted('end: conv', 80.5, 0.1, tid=2),
    _noted('dot', 100.0, 1.0, hlo_op='dot'),
    _noted('ThreadpoolListener::StartRegion', 120.0, 0.0, tid=2),
    _noted('end: dot', 140.0, 0.1, tid=2),  # nothing waited for it
    _noted('dot', 200.0, 1.0, hlo_op='dot'),  # in a loop
    _noted('end: dot', 210.0, 0.1, tid=2),
    _noted('while.3', 0.0, 300.0, hlo_op='while.3'),
  ]
  found = [
    (span.name, span.begins, span.returns, span.ends)
    for span in profile._spans(events)
  ]
  assert found == [
    ('conv', 0.0, 1.0, 52.0), ('other', 10.0, 15.0, 15.1),
    ('sort', 52.0, 72.0, 72.1), ('dot', 100.0, 101.0, 140.0),
    ('dot', 200.0, 201.0, 210.0),
  ]  # fmt: skip
