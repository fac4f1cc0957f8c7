from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from difjax.networks import costs, dit

SIZES = {  # width, depth, heads
  'S': (384, 12, 6), 'B': (768, 12, 12), 'L': (1024, 24, 16),
  'XL': (1152, 28, 16),
}  # fmt: skip


def shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_products():
  assert costs.multiply_accumulates(jnp.matmul, shape(3, 4), shape(4, 5)) == 60
  batched = shape(7, 3, 4), shape(7, 4, 5)
  assert costs.multiply_accumulates(jnp.matmul, *batched) == 7 * 60
  product = lambda x, y: jnp.einsum('bthd,bshd->bhts', x, y)
  heads = shape(2, 5, 3, 8), shape(2, 6, 3, 8)
  assert costs.multiply_accumulates(product, *heads) == 2 * 3 * 5 * 6 * 8


@pytest.mark.parametrize(('stride', 'groups', 'count'), [
  (1, 1, 8 * 6 * 5 * 9 * 4),
  (2, 1, 4 * 3 * 5 * 9 * 4),
  (1, 2, 8 * 6 * 4 * 9 * 2),
])
def test_convolutions(stride, groups, count):
  features = 5 if groups == 1 else 4
  convolve = lambda x, k: jax.lax.conv_general_dilated(
    x, k, (stride, stride), 'SAME', feature_group_count=groups,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  kernel = shape(3, 3, 4 // groups, features)
  image = shape(1, 8, 6, 4)
  assert costs.multiply_accumulates(convolve, image, kernel) == count


def test_transposed_convolutions_skip_the_zeros():
  enlarge = lambda x, k: jax.lax.conv_transpose(x, k, (2, 2), 'SAME')
  found = costs.multiply_accumulates(
    enlarge, shape(1, 8, 8, 3), shape(2, 2, 3, 5))
  assert found == 16 * 16 * 5 * 4 * 3 // 4


def test_loops_branches_and_calls():
  square = jax.jit(lambda x: x @ x)
  loop = lambda x: jax.lax.scan(
    lambda c, _: (jax.checkpoint(square)(c), None), x, length=7)[0]
  assert costs.multiply_accumulates(loop, shape(3, 3)) == 7 * 27
  branch = lambda x: jax.lax.cond(
    x[0, 0] > 0, lambda x: square(square(x)), square, x)
  assert costs.multiply_accumulates(branch, shape(3, 3)) == 2 * 27


# Peebles & Xie 2023, table 1 and appendix; their Gflops are these.
@pytest.mark.parametrize(('size', 'patch', 'giga'), [
  ('S', 8, 0.36), ('S', 4, 1.41), ('S', 2, 6.06),
  ('B', 8, 1.42), ('B', 4, 5.57), ('B', 2, 23.01),
  ('L', 8, 5.01), ('L', 4, 19.70), ('L', 2, 80.70),
  ('XL', 8, 7.39), ('XL', 4, 29.04), ('XL', 2, 118.62),
])  # fmt: skip
def test_the_paper_s_figures_for_dit(size, patch, giga):
  assert round(_of_dit(size, patch, 32) / 1e9, 2) == giga


def test_the_paper_s_figure_at_512():
  assert round(_of_dit('XL', 2, 64) / 1e9, 1) == 524.5


def test_sit_costs_what_dit_does():
  """Its head is as wide, though half of what it gives is not used."""
  spare = dict(out_channels=4, spare_channels=4)
  assert _of_dit('XL', 2, 32, **spare) == _of_dit('XL', 2, 32)


def _of_dit(size, patch, side, out_channels=8, spare_channels=0):
  width, depth, heads = SIZES[size]
  network = dit.DiT(
    patch=(patch, patch), width=width, depth=depth, heads=heads,
    out_channels=out_channels, spare_channels=spare_channels,
    num_classes=1000)
  return costs.of_network(
    network, shape(1, side, side, 4), shape(1),
    {'label': jax.ShapeDtypeStruct((1,), jnp.int32)})
