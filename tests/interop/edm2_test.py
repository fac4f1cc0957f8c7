"""EDM2 against the official outputs, and faults in files."""

from __future__ import annotations

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import errors, interop, sampling, training
from difjax.interop import container, edm2, imported, persistent
from difjax.networks import edm2_layers

TESTS = pathlib.Path(__file__).parents[1]
KEPT = TESTS / 'golden' / 'edm2'
SHARED = TESTS.parents[1] / 'shared' / 'golden' / 'edm2'
SNAPSHOT = KEPT / 'network-nosrc.pkl'


def channels_last(array):
  return np.moveaxis(array, 1, -1)


def official(name, file=KEPT / 'io.npz'):
  with np.load(file) as arrays:
    return arrays[name]


@functools.cache
def snapshot(half=True):
  """The model of the snapshot that is kept here."""
  return interop.load(SNAPSHOT, config={'half_gains': half})


@functools.cache
def shared(file):
  """A model of one of the plain state dicts, which are not kept here."""
  if not SHARED.is_dir():
    pytest.skip(f'{SHARED} is not there: no official outputs to compare with')
  config = json.loads((SHARED / 'config.json').read_text())
  return interop.load(SHARED / f'state_dict_{file}_f32.pt', config=config)


def labels(name='class_labels'):
  """Labels of one-hot vectors, of which a vector of zeros is none."""
  hot = official(name, SHARED / 'io.npz' if 'sampler' in name else
                 KEPT / 'io.npz')
  return np.where(hot.any(1), hot.argmax(1), -1)


@functools.partial(jax.jit, static_argnums=0)
def outputs(objective, params, x, t, label):
  """x_0 under a label and without one, and u."""
  twice = lambda a: jnp.concatenate([a, a])
  cond = {'label': jnp.concatenate([label, jnp.full_like(label, -1)])}
  x0 = objective.denoiser(params, cond)(twice(x), twice(t)).x0
  return *jnp.split(x0, 2), objective.uncertainty(params, t)


def denoised(model, dtype, params=None):
  """What the model says of the images of the golden set, as it is there."""
  params = jax.tree.map(
    lambda a: jnp.asarray(a, dtype), params or model.params)
  x, sigma = (jnp.asarray(official(name), dtype) for name in ('x', 'sigma'))
  named, unnamed, u = outputs(
    model.objective, params, channels_last(x), sigma, labels())
  assert named.dtype == dtype
  return {
    'D': np.moveaxis(np.asarray(named), -1, 1),
    'D_no_label': np.moveaxis(np.asarray(unnamed), -1, 1),
    'logvar': np.asarray(u).reshape(-1, 1, 1, 1)}


def near(found, expected, exact=None):
  """Compares within the rounding that the official code has itself."""
  rounding = 2e-6 * abs(expected).max()
  if exact is not None:
    rounding += 10 * abs(expected - exact).max()
  np.testing.assert_allclose(found, expected, rtol=0, atol=rounding)


@pytest.mark.parametrize('part', ['', 'tofp32_'])
def test_a_snapshot_in_half_precision(part):
  """As the official generator reads it, and cast to float32 at first."""
  model = snapshot(half=not part)
  assert model.info['family'] == 'edm2'
  assert model.info['encoder'] == 'StandardRGBEncoder'
  for name, found in denoised(model, jnp.float32).items():
    near(found, official(f'fp16pkl_{part}{name}'))


def coded(model):
  """The embedding of the noise levels of the golden set."""
  noise = jnp.log(official('sigma')) / 4
  code = edm2_layers.MPFourier(16).apply(
    {'params': model.params['encoding']}, noise)
  return edm2_layers.MPConv(32).apply({'params': model.params['time']}, code)


@pytest.mark.parametrize('part', ['', 'tofp32_'])
def test_the_embedding_of_the_noise(part):
  near(coded(snapshot(half=not part)), official(f'fp16pkl_{part}emb_noise'))


@pytest.mark.parametrize(
  ('file', 'part'), [('raw', 'raw'), ('after3train', 'normed')])
def test_the_embeddings_of_state_dicts(file, part):
  found, arrays = coded(shared(file)), SHARED / 'io.npz'
  near(found, official(f'{part}_emb_noise', arrays),
       official(f'{part}_emb_noise__f64', arrays))


@pytest.mark.parametrize(
  ('file', 'part'), [('raw', 'raw'), ('after3train', 'normed')])
@pytest.mark.parametrize('x64', [False, True], ids=['float32', 'float64'])
def test_state_dicts(file, part, x64):
  model = shared(file)
  with jax.enable_x64(x64):
    found = denoised(model, jnp.float64 if x64 else jnp.float32)
  for name, ours in found.items():
    theirs, exact = (official(f'{part}_{name}{twin}', SHARED / 'io.npz')
                     for twin in ('', '__f64'))
    if x64:
      np.testing.assert_allclose(
        ours, exact, rtol=0, atol=1e-7 * abs(exact).max())
    else:
      near(ours, theirs, exact)


def test_forced_normalisation_is_the_official_one():
  """Three passes of training normalise three times, which moves no output."""
  raw, after = shared('raw'), shared('after3train')
  rule = training.unit_weights()
  params, state = raw.params, rule.init(raw.params)
  still = jax.tree.map(jnp.zeros_like, params)
  passes = official('train_pass_D', SHARED / 'io.npz')
  for i in range(3):
    updates, state = rule.update(still, state, params)
    params = jax.tree.map(jnp.add, params, updates)
    found = denoised(raw, jnp.float32, params)['D']
    np.testing.assert_allclose(found, passes[i], atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6),
    params, after.params)
  moved = [float(abs(a - b).max()) for a, b in zip(
    *map(jax.tree.leaves, (raw.params, after.params)), strict=True)]
  assert max(moved) > 0.01


def lerp(full, weak, scale):
  """Autoguidance: beyond the weaker model."""
  def denoise(x, t):
    return jax.tree.map(
      lambda a, b: b + scale * (a - b), full(x, t), weak(x, t))
  return denoise


HEUN = sampling.Heun()
CHURN = sampling.Churned(
  solver=HEUN, churn=20.0, low=0.1, high=50.0, noise_scale=1.007)


@pytest.mark.parametrize(('name', 'solver', 'scale', 'x64'), [
  (name, solver, scale, x64) for x64 in (False, True)
  for name, solver, scale in (
    ('guided', HEUN, 2.2), ('det', HEUN, None), ('churn', CHURN, None))])
def test_samples(name, solver, scale, x64):
  full = shared('raw')
  weak = shared('guide') if scale else None
  arrays = SHARED / 'io.npz'
  grid = sampling.Karras(steps=8)
  with jax.enable_x64(x64):
    dtype = jnp.float64 if x64 else jnp.float32
    cond = {'label': jnp.asarray(labels('sampler_class_labels'))}
    process = full.objective.process
    noise = moves(grid(process), official('churn_noises', arrays))

    def run(params, weaker, x):
      denoiser = full.objective.denoiser(params, cond)
      if scale:
        denoiser = lerp(
          denoiser, weak.objective.denoiser(weaker, cond), scale)
      way = sampling.FixedGrid(solver=solver, grid=grid)
      return way(denoiser, process, x, noise)

    cast = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)
    start = 80 * cast(channels_last(official('latents', arrays)))
    found, evaluations = jax.jit(run)(
      cast(full.params), cast(weak.params) if weak else None, start)
  expected = official(f'sample_{name}', arrays)
  exact = official(f'sample_{name}__f64', arrays)
  found = np.moveaxis(np.asarray(found), -1, 1)
  assert int(evaluations[0]) == 15
  if x64:
    np.testing.assert_allclose(
      found, exact, rtol=0, atol=1e-6 * abs(exact).max())
  else:
    near(found, expected, exact)
  if scale:  # of a float32 network, under a state in float64
    near(found, official(f'sample_{name}_f64state', arrays), exact)


def moves(times, draws):
  """Draws for each step: the official code draws where it churns only."""
  churned = (CHURN.low <= times) & (times <= CHURN.high)
  place = np.maximum(np.cumsum(churned) - 1, 0)
  return sampling.Recorded(channels_last_of_steps(draws)[place][:, None])


def channels_last_of_steps(draws):
  return np.moveaxis(draws, 2, -1)


@pytest.fixture(scope='module')
def tree():
  return container.read(SNAPSHOT)


def test_a_state_dict_tells_the_sizes(tree):
  arrays = persistent.arrays(tree['ema'])
  found, told = (
    edm2.convert(given, {'channels_per_head': 8, 'half_gains': False})
    for given in (tree, arrays))
  assert told.network == {**found.network, 'dropout': 0.0}
  assert edm2.recognises(arrays) and edm2.recognises(tree['ema'])
  assert not edm2.recognises({'ema': {}, 'net': None})
  jax.tree.map(np.testing.assert_array_equal, told.params, found.params)


def test_training_states(tree):
  arrays = persistent.arrays(tree['ema'])
  half = {name: array * 0 for name, array in arrays.items()}
  state = {'net': arrays, 'ema': {'stds': [0.05, 0.1], 'emas': [half, arrays]}}
  assert edm2.recognises(state)
  found = edm2.convert(state, {'channels_per_head': 8})
  assert found.info['ema_width'] == 0.05
  assert not found.params['head']['kernel'].any()
  raw = edm2.convert(state, {'channels_per_head': 8}, ema=False)
  assert raw.info['weights'] == 'raw' and raw.params['head']['kernel'].any()
  with pytest.raises(errors.CheckpointError, match='with ema=False'):
    edm2.convert({'net': arrays}, {'channels_per_head': 8})


def test_widths_of_their_own():
  """A first level that is no multiple of the base, an own width of codes."""
  shapes = {
    'unet.emb_noise.weight': (96, 48), 'unet.out_conv.weight': (3, 32, 3, 3),
    'unet.enc.8x8_conv.weight': (32, 4, 3, 3),
    'unet.enc.8x8_block0.conv_res1.weight': (32, 32, 3, 3),
    'unet.enc.4x4_block0.conv_res1.weight': (48, 48, 3, 3),
    'logvar_linear.weight': (1, 8),
  }  # fmt: skip
  found = edm2._told({name: np.zeros(size) for name, size in shapes.items()})
  channels = found['model_channels']
  assert [channels * m for m in found['channel_mult']] == [32, 48]
  assert channels * found['channel_mult_noise'] == 48
  assert channels * found['channel_mult_emb'] == 96
  assert found['label_dim'] == 0 and found['img_resolution'] == 8


def test_arguments_go_before_what_shapes_tell(tree):
  """Widths only together: a given factor is one of the given channels."""
  found = edm2.convert(tree, {
    'model_channels': 8, 'channel_mult': (2, 4), 'dropout': 0.4,
    'resample_filter': [1, 3, 3, 1], 'clip_act': None})
  network = found.network
  assert network['channels'] == 8 and network['multipliers'] == (2, 4)
  assert network['noise_multiplier'] is None and network['clip'] is None
  assert network['kernel'] == (1, 3, 3, 1) and network['dropout'] == 0.4


def test_options_of_a_config_of_ours():
  """They stand for what a state dict does not tell."""
  network = {'type': 'networks.MPUNet', 'clip': 100.0, 'channels_per_head': 8}
  target = {'type': 'denoising.Preconditioned', 'data_std': 0.7}
  found = edm2.official({'network': network, 'target': target})
  assert found == {
    'clip_act': 100.0, 'channels_per_head': 8, 'sigma_data': 0.7}


def test_last_weights_are_not_in_a_snapshot(tree):
  with pytest.raises(errors.CheckpointError, match='averaged weights only'):
    edm2.convert(tree, ema=False)


def test_unknown_and_missing_weights(tree, tmp_path):
  arrays = persistent.arrays(tree['ema'])
  with pytest.raises(errors.CheckpointError, match=r'no unet\.enc\.8x8_pool'):
    edm2.convert({**arrays, 'unet.enc.8x8_pool.weight': arrays[
      'unet.out_gain']})
  found = edm2.convert(tree)
  del found.params['log_variance']['out'], found.params['gain']
  shapes = jax.eval_shape(
    snapshot().objective.init, jax.random.key(0),
    {'image': jnp.zeros((1, 8, 8, 4))})
  with pytest.raises(errors.CheckpointError, match='lacks gain, log_variance'):
    imported.check('file', shapes, found.params)


@pytest.mark.parametrize(('arguments', 'message'), [
  (dict(channel_mult=3), 'EDM2: .* in the config'),
  (dict(num_blocks='x'), 'EDM2: .* in the config'),
  (dict(num_blocks=1.5), 'EDM2.* in the config'),
  (dict(channel_per_head=8), 'did you mean channels_per_head'),
  (dict(channels_per_head=64), 'channels_per_head is 64, which does not fit'),
  (dict(channels_per_head=0), 'channels_per_head is 0, which does not fit'),
])
def test_arguments_that_are_off(tree, arguments, message):
  with pytest.raises(errors.ConfigError, match=message) as caught:
    edm2.convert(tree, arguments)
  assert len(str(caught.value).splitlines()) == 1


def test_absurd_sizes(tree):
  message = '2000000000 blocks, of 63 weights'
  with pytest.raises(errors.CheckpointError, match=message):
    edm2.convert(tree, {'num_blocks': 10**9})
