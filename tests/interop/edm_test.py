"""EDM's networks and sampler against the official outputs, and faults."""

from __future__ import annotations

import copy
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import config as configs
from difjax import errors, sampling
from difjax.denoising import denoiser
from difjax.interop import container, edm, edm_arguments, persistent
from difjax.interop import imported as imports
from difjax.sampling import solver as solvers

KEPT = pathlib.Path(__file__).parents[1] / 'golden' / 'edm'
SHARED = pathlib.Path(__file__).parents[2].parent / 'shared' / 'golden'
ITEMS = ('ddpmpp', 've', 'ncsnpp', 'vp', 'iddpm')
BOTH = pytest.mark.parametrize('x64', [False, True], ids=['single', 'double'])
# Which of the arrays are kept in this repository, the READMEs there tell; the
# `abl_` ones are compared in sampling.


def channels_last(array):
  return array if array.ndim < 4 else np.moveaxis(array, -3, -1)


@functools.cache
def golden(item):
  """What a file holds, and the arrays that go with it, NHWC."""
  folder = SHARED / f'edm_{item}'
  file, arrays = folder / 'network-nosrc.pkl', folder / 'io.npz'
  if not file.exists():
    file, arrays = KEPT / f'{item}.pkl', KEPT / f'{item}.npz'
  if not file.exists():
    pytest.skip(f'{folder} is not there: no official outputs to compare with')
  io = np.load(arrays)
  return container.read(file), {n: channels_last(io[n]) for n in io.files}


@functools.cache
def imported(item):
  """The conversion, the network compiled, and the objective."""
  found = edm.convert(golden(item)[0], None)
  network = configs.build(found.network)
  return found, network, jax.jit(network.apply), configs.build(found.spec)


def weights(found, dtype):
  return jax.tree.map(lambda a: jnp.asarray(a, dtype), found.params)


def near(found, io, name):
  """Compares in the precision of what was found, where that is on record."""
  exact = io.get(f'{name}__f64')
  single = found.dtype == np.float32
  if exact is None or (single and name not in io):
    assert not SHARED.exists(), name
    return
  most = abs(exact).max()
  room = 1e-6 * most
  if single:
    room = 10 * abs(exact - io[name]).max() + 2e-6 * most
  np.testing.assert_allclose(found, exact, rtol=0, atol=room, err_msg=name)


def model(item, x64, labels='class_labels', augment='augment_labels'):
  """The objective, its network and its denoiser, which share a program.

  Of that the batch is three, and a condition that is not told is zeros.
  """
  found, _, apply, objective = imported(item)
  _, io = golden(item)
  dtype = np.float64 if x64 else np.float32
  params = {'params': weights(found, dtype)}
  widths = dict(label=found.info['num_classes'],
                augment=found.info['augment_dim'])
  told = dict(label=io.get(labels), augment=io.get(augment))
  cond = {}
  for name, width in widths.items():
    vectors = np.zeros((3, width), dtype)
    if told[name] is not None:
      vectors[:len(told[name])] = told[name]
    cond |= {name: vectors} if width else {}

  def run(x, noise):
    whole = np.resize(x, (3, *x.shape[1:])), np.resize(noise, 3)
    return apply(params, *whole, cond)[:len(x)]

  return objective, run, denoiser.of_network(
    run, objective.process, objective.target, objective.inputs,
    learned_range=objective.learned_range)


@BOTH
@pytest.mark.parametrize('item', ITEMS)
def test_networks_are_the_official_ones(item, x64):
  _, io = golden(item)
  dtype = np.float64 if x64 else np.float32
  with jax.enable_x64(x64):
    x, sigma = jnp.asarray(io['x'], dtype), jnp.asarray(io['sigma'], dtype)
    objective, run, denoise = model(item, x64)
    c_in, c_noise = objective.inputs(objective.process, sigma)
    x_in = c_in[:, None, None, None] * x
    near(c_noise, io, 'c_noise')
    near(x_in, io, 'net_in')
    out = run(x_in, c_noise)
    assert out.dtype == dtype
    near(out, io, 'F_raw_net_out')
    near(denoise(x, sigma).x0, io, 'D')


@pytest.mark.parametrize('item', ITEMS)
def test_levels_are_the_official_ones(item):
  """Between the preconditioning's ends and within the sampler's own.

  Those of VP and iDDPM are roots of 1 + sigma^2 less 1 in float32.
  """
  _, io = golden(item)
  found, *_, objective = imported(item)
  if 'sigma_min_max' not in io:
    pytest.skip('its ends are not among what is kept here')
  ends = io['sigma_min_max']
  if found.info['precond'] == 'EDMPrecond':
    assert tuple(ends) == (0, np.inf)
    ends = 0.002, 80.0
  bounds = found.info['sigma_min'], found.info['sigma_max']
  level = lambda sigma: 1 + np.square(sigma, dtype=np.float64)
  np.testing.assert_allclose(level(bounds), level(ends), rtol=1e-6)
  process = objective.process
  assert (process.t_min, process.t_max) == bounds
  if 'u' in io:
    table = objective.inputs.noise.process.logsnr_table()[::-1]
    np.testing.assert_allclose(
      1 + np.exp(-table), level(io['u'][:-1]), rtol=2e-6)
    assert io['u'][-1] == 0


@pytest.mark.parametrize('item', ITEMS)
def test_codes_of_noise_are_the_official_ones(item):
  """The official arrays are from before two halves change places."""
  _, io = golden(item)
  found, network, *_ = imported(item)
  with jax.enable_x64(True):
    code = network.encoding(width=network.code_width)
    params = weights(found, np.float64).get('encoding', {})
    out = np.asarray(code.apply({'params': params}, io['c_noise__f64']))
    swapped = found.info['model'] == 'SongUNet'
    near(np.roll(out, out.shape[1] // 2, 1) if swapped else out, io,
         'emb_map_noise')


@BOTH
def test_absent_conditions_are_zeros(x64):
  _, io = golden('ddpmpp')
  dtype = np.float64 if x64 else np.float32
  with jax.enable_x64(x64):
    x, sigma = io['x'].astype(dtype), io['sigma'].astype(dtype)
    for name, labels in (
      ('D_no_augment', 'class_labels'), ('D_class_labels_None', '')):
      *_, denoise = model('ddpmpp', x64, labels, augment='')
      near(denoise(x, sigma).x0, io, name)


def test_labels_are_numbers_or_vectors_and_absent_ones_zeros():
  _, io = golden('ddpmpp')
  found, network, *_ = imported('ddpmpp')
  vectors = io['class_labels']
  labels = np.where(vectors.any(1), vectors.argmax(1), -1)
  assert set(labels) > {-1}
  code = jnp.zeros((3, network.code_width))
  within = network.within(width=network.code_width)
  run = lambda cond: within.apply(
    {'params': found.params['within']}, cond, code)
  np.testing.assert_array_equal(
    run({'label': labels}), run({'label': vectors}))
  zeros = {'label': 0 * vectors, 'augment': np.zeros((3, 9), 'f4')}
  np.testing.assert_array_equal(run({}), run(zeros))


def walked(sampler, denoise, process, x, noise):
  """Runs a sampler step by step; what its denoiser saw, and the samples."""
  seen = []

  def watched(x, t):
    seen.append((np.asarray(x), float(t)))
    return denoise(x, t)

  times = sampler.grid(process)
  rule = solvers.on_grid(sampler.solver, process, times)
  steps = jnp.asarray(times, x.dtype)
  for i in range(len(times) - 1):
    x, _ = rule.step(
      watched, process, rule.init(x), x, steps[i], steps[i + 1], noise.at(i))
  return watched(x, steps[-1]).x0, *zip(*seen, strict=True)


@BOTH
@pytest.mark.parametrize('item', ['ddpmpp', 'ncsnpp'])
def test_samplers_are_the_official_ones(item, x64):
  """Algorithms 1 and 2 of the paper, evaluation by evaluation."""
  _, io = golden(item)
  dtype = np.float64 if x64 else np.float32
  grid, heun = sampling.Karras(steps=18), sampling.Heun()
  churned = sampling.Churned(
    solver=heun, churn=40, low=0.05, high=50, noise_scale=1.003)
  with jax.enable_x64(x64):
    objective, _, denoise = model(
      item, x64, 'sampler_class_labels', augment='')
    process, x = objective.process, jnp.asarray(80.0 * io['latents'], dtype)
    noise = sampling.Recorded(io['churn_noises'][:, None].astype(dtype))
    out, xs, sigmas = walked(
      sampling.FixedGrid(solver=heun, grid=grid), denoise, process, x, noise)
    near(out, io, 'sample_det')
    np.testing.assert_allclose(
      sigmas, io['sample_det_net_sigma'], rtol=1e-12 if x64 else 1e-6)
    near(np.stack(xs), io, 'sample_det_net_x')
    out, _, _ = walked(
      sampling.FixedGrid(solver=churned, grid=grid), denoise, process, x, noise)
    near(out, io, 'sample_churn')


def test_what_a_file_tells():
  found = imports.load(KEPT / 'ddpmpp.pkl')
  assert found.info | {'unused': ()} == dict(
    family='edm', model='SongUNet', precond='EDMPrecond', container='torch',
    weights='ema', image_shape=(16, 16, 3), num_classes=5, augment_dim=9,
    sigma_min=0.002, sigma_max=80.0, fp16=False, unused=())
  assert {n.rpartition('.')[2] for n in found.info['unused']} == {
    'resample_filter'}
  objective = found.objective
  assert (objective.times.mean, objective.times.std) == (-1.2, 1.2)
  _, io = golden('ddpmpp')
  x, sigma = io['x'][:1], io['sigma'][1:2].astype(np.float32)
  assert jax.eval_shape(found.denoiser, x, sigma).x0.shape == x.shape


def test_losses_are_those_of_the_file():
  """VE's draws log sigma uniformly and weighs the noise's error evenly."""
  objective = imported('ve')[3]
  process = objective.process
  with jax.enable_x64(True):
    u = jnp.linspace(0, 1, 5)[1:-1]
    sigma = objective.times.quantile(process, u)
    low, high = 0.02, 100.0
    expected = low * (high / low) ** (1e-5 + u * (1 - 1e-5))
    np.testing.assert_allclose(sigma, expected, rtol=1e-9)
    weight = objective.weighting(process, objective.target, sigma)
    np.testing.assert_allclose(weight, 1.0)


def changed(**keywords):
  """The file of VE's network, made with other arguments."""
  tree = dict(golden('ve')[0])
  net = tree['ema'] = copy.copy(tree['ema'])
  net.keywords = {**net.keywords, **keywords}
  return tree


def test_arguments_by_position():
  tree = changed()
  names = 'img_resolution', 'img_channels'
  net = tree['ema']
  net.args = tuple(net.keywords.pop(name) for name in names)
  assert edm.convert(tree, None).spec == imported('ve')[0].spec


def test_given_arguments_go_first():
  found = edm.convert(golden('ve')[0], {'config': {'sigma_max': 50.0}})
  assert found.spec['process']['t_max'] == 50.0


def test_a_training_state_has_the_last_weights():
  tree = {'net': golden('ve')[0]['ema'], 'optimizer_state': {}}
  assert edm.recognises(tree)
  assert edm.convert(tree, None, ema=False).info['weights'] == 'raw'
  with pytest.raises(errors.CheckpointError, match='ema=False'):
    edm.convert(tree, None)
  with pytest.raises(errors.CheckpointError, match='ema=True'):
    edm.convert(golden('ve')[0], None, ema=False)


@pytest.mark.parametrize(('kind', 'stem'), [
  ('SongUNet', 16), ('DhariwalUNet', 32)])
def test_the_first_convolution_of_adm_has_the_width_of_its_level(kind, stem):
  arguments = edm_arguments.Arguments('EDMPrecond', (8, 3), dict(
    model_type=kind, model_channels=16, channel_mult=[2, 4]))
  assert edm_arguments.architecture(arguments).stem == stem


def test_weights_alone_need_the_arguments():
  net = golden('ve')[0]['ema']
  arrays = persistent.arrays(net)
  assert edm.recognises(arrays)
  config = {'precond': 'VEPrecond', **net.keywords}
  found = edm.convert(arrays, config)
  same = jax.tree.map(
    np.array_equal, found.params, imported('ve')[0].params)
  assert all(jax.tree.leaves(same))
  with pytest.raises(errors.ConfigError, match=r'img_\w+ is not in'):
    edm.convert(arrays, {})


@pytest.mark.parametrize(
  ('keywords', 'named'),
  [
    (dict(model_channels=16.5), 'model_channels is 16.5'),
    (dict(model_type='UNet'), "model_type is 'UNet'"),
    (dict(embedding_type='learned'), 'known are positional, fourier'),
    (dict(encoder_type=None), 'encoder_type is None'),
    (dict(channel_mult=2), 'channel_mult is 2'),
    (dict(channel_mult=[]), 'channel_mult is empty'),
    (dict(channel_mult=[0, 1]), r'channel_mult is \[0, 1\]'),
    (dict(resample_filter='x'), 'resample_filter'),
    (dict(resample_filter=[1, 2, 1]), 'not an even number of taps'),
    (dict(resample_filter=[1, -1]), 'not an even number of taps'),
    (dict(model_channels=0), 'model_channels is 0, not a whole number of at'),
    (dict(channel_mult_emb=0), 'channel_mult_emb is 0'),
    (dict(dropout=float('nan')), 'dropout is nan'),
    (dict(embeding_type='fourier'), 'did you mean embedding_type'),
    (dict(precond='EDM2'), "no preconditioning 'EDM2'"),
    (dict(precond='iDDPMPrecond', M=10**9), 'M is 1000000000, more than'),
  ],
)
def test_arguments_that_are_off(keywords, named):
  with pytest.raises(errors.ConfigError, match=named) as caught:
    edm.convert(golden('ve')[0], keywords)
  assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
  ('keywords', 'named'),
  [
    (dict(num_blocks=10**9), '2000000000 blocks, of 150 weights'),
    (dict(img_resolution=32), 'has no dec.16x16_aux_conv.bias, '),
    (dict(channel_mult=[1]), 'has no .*dec.8x8_block0'),
  ],
)
def test_arguments_that_do_not_fit(keywords, named):
  with pytest.raises(errors.CheckpointError, match=named) as caught:
    edm.convert(golden('ve')[0], keywords)
  assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
  ('keywords', 'named', 'kind'),
  [
    (dict(decoder_type='skip'), 'lacks head_1/bias, .* and 1 more',
     errors.CheckpointError),
    (dict(label_dim=3, augment_dim=9), 'lacks within/augment/kernel, within/l',
     errors.CheckpointError),
    (dict(encoder_type='standard'), 'beyond the network down_0_pyramid/conv/b',
     errors.CheckpointError),
    (dict(model_channels=32), r'another shape .* \(16,\) for \(32,\)',
     errors.CheckpointError),
    (dict(label_dim=10**14), 'OverflowError', errors.ConfigError),
  ],
  ids=['head', 'labels', 'pyramid', 'shapes', 'sizes of no machine'],
)
def test_networks_that_do_not_fit(keywords, named, kind):
  with pytest.raises(kind, match=named) as caught:
    imports.convert(KEPT / 've.pkl', None, keywords)
  assert len(str(caught.value).splitlines()) == 1
