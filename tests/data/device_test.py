import functools
import pathlib
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax.data import device, pipeline, synthetic

LEVELS = np.arange(256, dtype=np.uint8)
NOISE = synthetic.Synthetic(length=37, height=4, width=4, channels=1)


def pipe(batch_size=8):
  return pipeline.Pipeline(source=NOISE, batch_size=batch_size, seed=3)


@pytest.mark.parametrize('module', [np, jnp])
def test_bytes_round_trip_through_the_unit_range(module):
  compiled = jax.jit if module is jnp else lambda f: f
  unit = compiled(device.to_unit_range)(module.asarray(LEVELS))
  assert unit.dtype == np.float32
  assert (float(unit[0]), float(unit[255])) == (-1.0, 1.0)
  levels = compiled(device.to_bytes)(unit)
  assert levels.dtype == np.uint8
  np.testing.assert_array_equal(levels, LEVELS)


def test_bytes_are_the_nearest_level_and_clipped():
  x = np.array([-3.0, 3.0, 0.4 / 127.5, 0.6 / 127.5], np.float32)
  # 0 lies half-way between levels 127 and 128, and goes up.
  assert device.to_bytes(x).tolist() == [0, 255, 128, 128]
  near = (LEVELS + np.float32(0.49)) / 127.5 - 1
  np.testing.assert_array_equal(device.to_bytes(near), LEVELS)
  near = (LEVELS - np.float32(0.49)) / 127.5 - 1
  np.testing.assert_array_equal(device.to_bytes(near), LEVELS)


def test_floats_pass_unchanged():
  x = jnp.linspace(-1, 1, 5)
  assert device.to_unit_range(x) is x
  assert device.dequantise(x, jax.random.key(0)) is x


def test_dequantised_bytes_fill_the_interval_of_their_level():
  u = jnp.broadcast_to(jnp.asarray(LEVELS), (400, 256))
  x = np.asarray(jax.jit(device.dequantise)(u, jax.random.key(0)))
  assert x.dtype == np.float32
  v = (x.astype(np.float64) + 1) * 128 - LEVELS
  assert v.min() >= 0 and v.max() <= 1
  # Uniform: mean 1/2 within 4 standard errors, at each level and of all.
  error = 4 / np.sqrt(12)
  assert np.abs(v.mean(axis=0) - 0.5).max() < error / np.sqrt(400)
  assert abs(v.mean() - 0.5) < error / np.sqrt(v.size)
  np.testing.assert_allclose(v.var(), 1 / 12, rtol=0.02)
  again = jax.jit(device.dequantise)(u, jax.random.key(0))
  np.testing.assert_array_equal(again, x)


def test_one_device_gets_the_whole_batch():
  sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  batch = device.place(functools.partial(pipe().rows, 2), 8, sharding)
  expected = pipe().rows(2, np.arange(8))
  assert set(batch) == set(expected)
  for key, value in expected.items():
    np.testing.assert_array_equal(batch[key], value)
    assert batch[key].dtype == value.dtype


def test_device_batches_number_their_steps():
  sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  got = list(device.device_batches(pipe(), 3, 6, sharding))
  assert [step for step, _ in got] == [3, 4, 5]
  expected = pipe().rows(5, np.arange(8))['image']
  np.testing.assert_array_equal(got[2][1]['image'], expected)


def test_meshes_of_any_order_hold_the_same_rows():
  """Four virtual devices, reversed, with a tensor axis that shares rows."""
  script = """
    import jax, numpy as np
    from difjax.data import device, pipeline, synthetic
    noise = synthetic.Synthetic(length=37, height=4, width=4, channels=1)
    pipe = pipeline.Pipeline(source=noise, batch_size=8, seed=3)
    asked = []
    def load(rows):
      asked.append(rows.tolist())
      return pipe.rows(2, rows)
    mesh = jax.sharding.Mesh(
      np.array(jax.devices())[::-1].reshape(2, 2), ('data', 'tensor'))
    for axes in ('data', ('data', 'tensor'), None):
      spec = jax.sharding.PartitionSpec(axes)
      sharding = jax.sharding.NamedSharding(mesh, spec)
      batch = device.place(load, 8, sharding)
      assert batch['image'].sharding == sharding
      for key, value in pipe.rows(2, np.arange(8)).items():
        np.testing.assert_array_equal(batch[key], value)
    assert asked == [list(range(8))] * 3, asked
  """
  root = pathlib.Path(__file__).parents[2]
  subprocess.run(
    [sys.executable, '-c', textwrap.dedent(script)],
    check=True,
    cwd=root,
    env={
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': '4',
      'PYTHONPATH': str(root),
    },
  )
