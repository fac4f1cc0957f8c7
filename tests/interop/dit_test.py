"""DiT against the official outputs, and faults in its files.

The files kept here are enough; with the whole set beside this repository, what
is inside the network and checkpoints of training are compared as well.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import config as configs
from difjax import denoising, errors, interop, sampling
from difjax.interop import container, dit, dit_layout
from difjax.networks import dit as networks

KEPT = pathlib.Path(__file__).parents[1] / 'golden' / 'dit'
SHARED = pathlib.Path(__file__).parents[2].parent / 'shared/golden/dit'
FILE = KEPT / 'DiT-tiny.pt'
HEADS = {'num_heads': 4}
SIZES = {  # width, depth, heads
  'S': (384, 12, 6), 'B': (768, 12, 12), 'L': (1024, 24, 16),
  'XL': (1152, 28, 16),
}  # fmt: skip


def channels_last(array):
  return np.moveaxis(array, -3, -1)


@functools.cache
def kept():
  with np.load(KEPT / 'outputs.npz') as file:
    io = dict(file)
  return {name: channels_last(array) if array.ndim > 3 else array
          for name, array in io.items()}


@functools.cache
def shared():
  if not SHARED.is_dir():
    pytest.skip(f'{SHARED} is not there: no official outputs to compare with')
  return dict(np.load(SHARED / 'io.npz'))


@functools.cache
def loaded(dtype=np.float32):
  """The model, its parameters in a dtype."""
  found = interop.load(FILE, config=HEADS)
  params = jax.tree.map(lambda a: np.asarray(a, dtype), found.params)
  return dataclasses.replace(found, params=params)


def close(found, expected, rounding=1e-6):
  scale = abs(expected).max()
  np.testing.assert_allclose(found, expected, rtol=0, atol=rounding * scale)


def output(found, x, t, label):
  run = jax.jit(found.network.apply)
  return run({'params': found.params}, x, t, {'label': label})


def test_the_official_output():
  io, found = kept(), loaded()
  assert found.info['family'] == 'dit'  # by the file's name
  assert found.info['image_shape'] == (8, 8, 4)
  out = output(found, io['x'], io['t'].astype(np.float32), io['y'])
  # The official float32 is off by 5.9e-6 and allows ten times that.
  np.testing.assert_allclose(out, io['out'], rtol=0, atol=6e-5)
  with jax.enable_x64(True):
    found, x = loaded(np.float64), io['x'].astype(np.float64)
    close(output(found, x, io['t'], io['y']), io['out'])
    null = jnp.where(io['y'] == 10, -1, io['y'])
    close(output(found, x, io['t'], null), io['out'])


def test_fractions_of_levels():
  io = shared()
  with jax.enable_x64(True):
    x = channels_last(io['x']).astype(np.float64)
    out = output(loaded(np.float64), x, io['t_frac'], io['y'])
    close(out, channels_last(io['out_t_frac__f64']))


def test_inside_the_network():
  io = shared()
  with jax.enable_x64(True):
    found = loaded(np.float64)
    inputs = channels_last(io['x']).astype(np.float64), io['t']
    _, seen = found.network.apply(
      {'params': found.params}, *inputs, {'label': io['y']},
      capture_intermediates=True, mutable=['intermediates'])
    seen = seen['intermediates']
    time, label, patches = (
      seen[name]['__call__'][0] for name in ('time', 'label', 'patch_in'))
    close(time, io['t_emb__f64'])
    close(label, io['y_emb__f64'])
    tokens = patches + io['pos_embed']
    close(tokens, io['after_patch_pos__f64'])
    block = networks.Block(found.network.heads)
    first = jax.tree.map(lambda a: a[0], found.params['blocks'])
    close(block.apply({'params': first}, tokens, time + label, False)[0],
          io['after_block0__f64'])


def test_guidance_of_three_channels():
  """The official call has conditions first, all on the first half's x."""
  io = kept()
  with jax.enable_x64(True):
    found, x = loaded(np.float64), io['cfg_x'].astype(np.float64)
    x = np.concatenate([x[:2], x[:2]])
    full, null = jnp.split(output(found, x, io['cfg_t'], io['cfg_y']), 2)
    guided = (null + io['cfg_scale'] * (full - null))[..., :3]
    rest = [jnp.concatenate([guided, half[..., 3:]], -1)
            for half in (full, null)]
    close(jnp.concatenate(rest), io['cfg_out'])


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize(('name', 'eta'), [('ddpm', 1.0), ('ddim', 0.0)])
def test_ten_respaced_steps(name, eta, dtype):
  io = kept()
  with jax.enable_x64(dtype == np.float64):
    found = loaded(dtype)
    process = found.objective.process
    denoiser = denoising.classifier_free(
      lambda cond: found.objective.denoiser(found.params, cond), process,
      {'label': jnp.asarray(io['cfg_y'][:2])}, float(io['cfg_scale']),
      rule=denoising.Extrapolated(channels=3))
    grid = sampling.Levels(steps=10)(process)
    x = jnp.asarray(io['cfg_x'][:2], dtype)
    noise = sampling.Recorded(io['sample_noises'][:, None])
    states = jax.jit(lambda x: sampling.trajectory(
      denoiser, process, sampling.DDIM(eta=eta), x, grid, noise))(x)
    last = denoiser(states[-1], grid[-1]).x0
    found = jnp.concatenate([states[1:], last[None]])
    # Official float32 allows 2.6e-2 of 956, and 1.8e-2 of 788.
    rounding = 1e-6 if dtype == np.float64 else 2.3e-5
    close(found, io[f'sample_{name}_traj'], rounding)


@pytest.mark.usefixtures('x64')
def test_betas_between_levels_are_the_respaced_ones():
  process = loaded().objective.process
  grid = sampling.Levels(steps=10)(process)
  # Level i of 1,000 is at time (i + 1) / 1,000: every 111th of them.
  np.testing.assert_allclose(
    1000 * grid[::-1] - 1, np.arange(10) * 111, atol=1e-9)
  betas = process.transition(grid[:-1], grid[1:])[1][::-1]
  np.testing.assert_allclose(
    betas, kept()['sample_betas_spaced'][1:], rtol=1e-12)


def test_checkpoints_of_training_give_their_average():
  shared()
  file = SHARED / 'train_ckpt_0000001.pt'
  average = interop.load(file, config=HEADS)
  jax.tree.map(np.testing.assert_array_equal, average.params, loaded().params)
  last = interop.load(file, 'dit', HEADS, ema=False)
  assert last.info['weights'] == 'model'
  tree = container.read(file)
  assert dit_layout.model(tree) == 'DiT-tiny'
  for found, key in ((average, 'ema'), (last, 'model')):
    np.testing.assert_array_equal(
      found.params['patch_out']['bias'], tree[key]['final_layer.linear.bias'])


def test_all_official_arguments_agree_with_the_file():
  shared()
  config = json.loads((SHARED / 'config.json').read_text())
  found = interop.load(FILE, 'dit', config)
  assert found.network == loaded().network
  assert found.objective.label_dropout == 0.1
  # The official loss is the noise's and one term of the bound, as they are.
  assert found.objective.learned_range
  assert found.objective.bound_weight * found.objective.process.levels == 1


def tree(**changes):
  """The file's arrays; None drops one."""
  arrays = {**container.read(FILE), **changes}
  return {name: a for name, a in arrays.items() if a is not None}


def test_without_a_row_for_no_label():
  table = container.read(FILE)['y_embedder.embedding_table.weight'][:10]
  arrays = tree(**{'y_embedder.embedding_table.weight': table})
  for told in ({'class_dropout_prob': 0.0}, {'num_classes': 10}):
    found = dit.convert(arrays, {**HEADS, **told})
    assert not found.network['null_label']
    assert found.network['num_classes'] == 10
    assert found.spec['label_dropout'] == 0
  network = configs.build(found.network)
  io = kept()
  out = network.apply({'params': found.params}, io['x'][:3],
                      io['t'][:3].astype(np.float32), {'label': io['y'][:3]})
  np.testing.assert_allclose(out, io['out'][:3], rtol=0, atol=6e-5)


def test_without_learned_variance():
  head = {name: array.reshape(2, 2, 8, -1)[:, :, :4].reshape(16, -1).squeeze()
          for name, array in container.read(FILE).items()
          if name.startswith('final_layer.linear')}
  found = dit.convert(tree(**head), {**HEADS, 'learn_sigma': False})
  assert found.spec['type'] == 'objectives.Denoising'
  io = kept()
  out = configs.build(found.network).apply(
    {'params': found.params}, io['x'], io['t'].astype(np.float32),
    {'label': io['y']})
  np.testing.assert_allclose(out, io['out'][..., :4], rtol=0, atol=6e-5)


@pytest.mark.parametrize('size', SIZES)
def test_published_sizes_tell_their_heads(size):
  width, depth, heads = SIZES[size]
  zeros = lambda *shape: np.broadcast_to(np.float32(0), shape)
  table = networks.embeddings.position_table((16, 16), width)
  arrays = {f'blocks.{i}.adaLN_modulation.1.weight': zeros(6 * width, width)
            for i in range(depth)}
  arrays |= {
    'pos_embed': table[None],
    'x_embedder.proj.weight': zeros(width, 4, 2, 2),
    'blocks.0.mlp.fc1.weight': zeros(4 * width, width),
    'y_embedder.embedding_table.weight': zeros(1001, width),
    'final_layer.linear.weight': zeros(32, width),
  }
  assert dit.recognises(arrays)
  spec, shape = dit_layout.network(dit_layout.read(arrays, None, ema=True))
  assert configs.build(spec) == networks.DiT(
    patch=(2, 2), width=width, depth=depth, heads=heads, out_channels=8,
    num_classes=1000)
  assert shape == (32, 32, 4)


def test_arguments_that_do_not_fit_are_named():
  arrays = tree()
  with pytest.raises(errors.ConfigError, match=r'width 64 .*--arch\.num_heads'):
    dit.convert(arrays, None)
  for name, value in (
    ('depth', 3), ('patch_size', 4), ('num_classes', 9), ('mlp_ratio', 2.5),
    ('input_size', 16), ('in_channels', 3), ('hidden_size', 32),
    ('learn_sigma', False)):
    with pytest.raises(errors.ConfigError, match=f'{name} is {value} in the'):
      dit.convert(arrays, {**HEADS, name: value})
  for heads in (5, 0.5, 'four', -4):
    with pytest.raises(errors.ConfigError, match=f'num_heads is {heads!r}, wh'):
      dit.convert(arrays, {'num_heads': heads})
  with pytest.raises(errors.ConfigError, match='did you mean num_heads'):
    dit.convert(arrays, {'num_head': 4})


@pytest.mark.parametrize(('changes', 'message'), [
  ({'blocks.1.attn.proj.bias': None}, r'lacks blocks\.1\.attn\.proj\.bias'),
  ({'final_layer.linear.weight': None}, 'lacks final_layer.linear.weight of'),
  ({'extra': np.zeros(1)}, 'beyond the network extra'),
  ({'pos_embed': np.zeros((1, 16, 64))}, 'positions were trained'),
  ({'extra': 'text'}, 'extra is no array'),
])
def test_weights_that_do_not_fit_are_named(changes, message):
  with pytest.raises(errors.CheckpointError, match=message):
    dit.convert(tree(**changes), HEADS)


def test_other_files_are_not_recognised():
  assert not dit.recognises({'model': {}})
  assert not dit.recognises([1])
  assert not dit.recognises({'ema': tree(), 'args': {'model': 'SiT-XL/2'}})
