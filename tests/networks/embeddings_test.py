from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.networks import embeddings


def encode(t, width, **fields):
  return embeddings.Positional(width, **fields).apply({}, jnp.asarray(t))


def test_dit_code_at_zero_is_ones_then_zeros():
  code = encode([0.0], 256, cos_first=True, endpoint=False)
  np.testing.assert_array_equal(code[0, :128], 1)
  np.testing.assert_array_equal(code[0, 128:], 0)


def test_dit_code_in_closed_form():
  t, k = 0.7, np.arange(128)
  phase = t * np.exp(-np.log(1e4) * k / 128)
  expected = np.concatenate([np.cos(phase), np.sin(phase)])
  code = encode([t], 256, cos_first=True, endpoint=False)
  np.testing.assert_allclose(code[0], expected, atol=1e-6)


def test_ddpm_code_in_closed_form():
  # Width 6: frequencies 1, 1/100, 1/10000.
  t = 3.0
  expected = [np.sin(t), np.sin(t / 100), np.sin(t / 1e4),
              np.cos(t), np.cos(t / 100), np.cos(t / 1e4)]
  np.testing.assert_allclose(encode([t], 6)[0], expected, atol=1e-6)


def test_code_is_float32_for_integers_and_half_precision():
  assert encode([3], 8).dtype == jnp.float32
  assert encode(jnp.ones(1, jnp.bfloat16), 8).dtype == jnp.float32


@pytest.mark.parametrize('width', [2, 7])
def test_code_names_a_width_without_two_halves(width):
  with pytest.raises(ValueError, match=f'width {width}.*even'):
    encode([0.0], width)


def test_fourier_code_in_closed_form():
  noise, w = np.array([0.5, 3.0]), np.array([0.3, -1.2, 16.0])
  code = embeddings.Fourier(3).apply({'params': {'W': w}}, jnp.asarray(noise))
  phase = 2 * np.pi * np.log(noise)[:, None] * w
  expected = np.concatenate([np.sin(phase), np.cos(phase)], -1)
  np.testing.assert_allclose(code, expected, atol=1e-4)


def test_fourier_frequencies_are_a_parameter_that_is_not_trained():
  module, noise = embeddings.Fourier(4096, scale=16.0), jnp.array([2.0])
  params = module.init(jax.random.key(0), noise)
  w = params['params']['W']
  assert w.shape == (4096,)
  assert abs(w.std() - 16) < 1  # five standard errors
  gradient = jax.grad(lambda p: module.apply(p, noise).sum())(params)
  np.testing.assert_array_equal(gradient['params']['W'], 0)


def test_sigma_of_index_descends_geometrically():
  fields = dict(sigma_min=0.01, sigma_max=100.0, levels=5)
  read = embeddings.SigmaOfIndex(**fields)
  levels = [100, 10, 1, 0.1, 0.01]
  np.testing.assert_allclose(read(jnp.arange(5.0)), levels, rtol=1e-5)
  # A rounding of the index must not move the level.
  close = read(jnp.arange(1.0, 5.0) - 1e-6)
  np.testing.assert_allclose(close, levels[1:], rtol=1e-5)
  np.testing.assert_allclose(read(jnp.array([1.5])), [10**0.5], rtol=1e-5)
  official = embeddings.SigmaOfIndex(**fields, truncate=True)
  np.testing.assert_allclose(
    official(jnp.array([0.0, 1.9, 2.0, 7.0])), [100, 10, 1, 0.01], rtol=1e-5)


def test_noise_mlp_is_linear_silu_linear():
  mlp, code = embeddings.NoiseMLP(5), jnp.linspace(-2, 2, 8).reshape(2, 4)
  y, variables = mlp.init_with_output(jax.random.key(0), code)
  p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables['params'])
  h = np.asarray(code, np.float64) @ p['hidden']['kernel']
  expected = h / (1 + np.exp(-h)) @ p['out']['kernel']
  np.testing.assert_allclose(y, expected, atol=1e-6)


def test_noise_mlp_takes_another_activation():
  mlp, code = embeddings.NoiseMLP(5, activation=jnp.square), jnp.ones((1, 4))
  y, variables = mlp.init_with_output(jax.random.key(0), code)
  p = variables['params']
  hidden = (code @ p['hidden']['kernel']) ** 2
  np.testing.assert_allclose(y, hidden @ p['out']['kernel'], atol=1e-5)


@pytest.fixture(scope='module')
def label():
  module = embeddings.Label(num_classes=3, width=4)
  variables = module.init(jax.random.key(0), None, 2)
  table = variables['params']['table']['embedding']
  return lambda cond: module.apply(variables, cond, 2), table


def test_label_reads_rows_and_keeps_the_last_for_null(label):
  look_up, table = label
  assert table.shape == (4, 4)
  rows = look_up({'label': jnp.array([2, -1])})
  np.testing.assert_array_equal(rows, table[jnp.array([2, 3])])


def test_label_absent_and_none_are_null(label):
  look_up, table = label
  null = jnp.stack([table[3]] * 2)
  np.testing.assert_array_equal(look_up(None), null)
  np.testing.assert_array_equal(look_up({}), null)
  np.testing.assert_array_equal(look_up({'text': jnp.zeros(2)}), null)


def test_label_out_of_range_is_loud(label):
  look_up, _ = label
  assert jnp.isnan(look_up({'label': jnp.array([4, 0])})[0]).all()


def test_position_table_halves_swap_when_the_grid_is_transposed():
  table = embeddings.position_table((5, 5), 16).reshape(5, 5, 2, 8)
  swapped = table.transpose(1, 0, 2, 3)[:, :, ::-1]
  np.testing.assert_array_equal(table, swapped)


def test_position_table_by_hand():
  # Width 8 on 2 axes: two frequencies each, 1 and 1/100; columns first.
  row, column = 2, 1
  table = embeddings.position_table((3, 4), 8).reshape(3, 4, 8)
  code = lambda p: [
    np.sin(p), np.sin(p / 100), np.cos(p), np.cos(p / 100)]
  expected = np.array(code(column) + code(row))
  np.testing.assert_allclose(table[row, column], expected, atol=1e-7)


def test_position_table_of_other_ranks():
  line = embeddings.position_table((7,), 8)
  volume = embeddings.position_table((2, 3, 7), 24).reshape(2, 3, 7, 3, 8)
  np.testing.assert_array_equal(volume[1, 2, :, 0], line)
  np.testing.assert_array_equal(volume[:, 0, 0, 2], line[:2])


def test_position_table_leaves_over_what_does_not_split():
  table = embeddings.position_table((2, 3, 4), 28)
  np.testing.assert_array_equal(
    table[:, :24], embeddings.position_table((2, 3, 4), 24))
  np.testing.assert_array_equal(table[:, 24:], 0)
  with pytest.raises(ValueError, match=r'width 3 .*at least 4'):
    embeddings.position_table((2, 2), 3)


def test_fourier_code_of_a_logarithm():
  noise = jnp.asarray([0.5, 3.0])
  code, log = embeddings.Fourier(4), embeddings.Fourier(4, log=False)
  params = code.init(jax.random.key(0), noise)
  np.testing.assert_allclose(
    log.apply(params, jnp.log(noise)), code.apply(params, noise), atol=1e-6)


def vectors(cond, classes=3, augment=2):
  """What a condition adds to a code, and the parameters."""
  module = embeddings.VectorCondition(
    5, num_classes=classes, augment_dim=augment)
  code = jnp.zeros((2, 5))
  params = module.init(jax.random.key(0), None, code)
  params['params']['label']['bias'] = jnp.arange(5.0)
  return np.asarray(module.apply(params, cond, code)), params['params']


def test_labels_are_scaled_rows():
  found, params = vectors({'label': jnp.asarray([2, -1])})
  row = np.sqrt(3) * params['label']['kernel'][2] + np.arange(5)
  np.testing.assert_allclose(found, [row, np.arange(5)], atol=1e-6)
  weights = jnp.asarray([[0, 0, 1.0], [0, 0, 0]])
  np.testing.assert_allclose(
    found, vectors({'label': weights})[0], atol=1e-6)


def test_vectors_that_are_absent_are_zeros():
  absent, params = vectors(None)
  np.testing.assert_allclose(absent, [np.arange(5)] * 2, atol=1e-6)
  augment = jnp.asarray([[0.5, -1], [0, 0]])
  found, _ = vectors({'augment': augment})
  np.testing.assert_allclose(
    found, absent + augment @ params['augment']['kernel'], atol=1e-6)


def test_a_label_above_the_classes_is_loud():
  found, _ = vectors({'label': jnp.asarray([3, 0])})
  assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


def test_a_table_without_null_row_takes_weights():
  table = embeddings.Label(3, 4, null_row=False)
  params = table.init(jax.random.key(0), None, 2)
  labels = table.apply(params, {'label': jnp.asarray([1, -1])}, 2)
  weights = jnp.asarray([[0, 1.0, 0], [0, 0, 0]])
  np.testing.assert_allclose(
    table.apply(params, {'label': weights}, 2), labels, atol=1e-6)
