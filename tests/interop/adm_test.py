"""ADM's networks against the official outputs, and faults in files."""

from __future__ import annotations

import functools
import itertools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import config as configs
from difjax import denoising, errors, objectives, processes, sampling
from difjax.denoising import denoiser as denoisers
from difjax.interop import (
  adm,
  consistency_models,
  container,
  imported,
  workdir,
)

TESTS = pathlib.Path(__file__).parents[1]
KEPT = TESTS / 'golden' / 'adm'
SHARED = TESTS.parents[1] / 'shared' / 'golden'


def channels_last(array):
  return np.moveaxis(array, -3, -1) if array.ndim > 3 else array


def kept(name, family='adm'):
  """One of the sets in this repository: family, path, config, arrays."""
  config = json.loads((KEPT / f'{name}.json').read_text())
  arrays = np.load(KEPT / f'{name}.npz')
  return family, KEPT / f'{name}.pt', config, {
    key: channels_last(array) for key, array in arrays.items()}


def shared(name, file, output):
  """One of the sets beside this repository, as `kept` has them."""
  folder = SHARED / name
  if not folder.is_dir():
    pytest.skip(f'{folder} is not there: no official outputs to compare with')
  config = json.loads((folder / 'config.json').read_text())
  arrays = {
    key: channels_last(array)
    for key, array in np.load(folder / 'io.npz').items()}
  arrays |= {
    f'out{end}': arrays[f'{output}{end}'] for end in ('', '__f64')}
  return 'adm', folder / file, config, arrays


SETS = {
  'U-Net': lambda: kept('unet'),
  'upsampler of improved-diffusion': lambda: kept('sr'),
  'classifier': lambda: kept('classifier'),
  'consistency': lambda: kept('cm', 'consistency_models'),
  'golden U-Net': lambda: shared('guided_unet', 'diffusion_tiny.pt', 'out'),
  'golden U-Net of convolutions': lambda: shared(
    'guided_unet_conv', 'diffusion_tiny.pt', 'out'),
  'golden classifier': lambda: shared(
    'guided_classifier', 'classifier_tiny.pt', 'logits'),
  'golden average': lambda: shared(
    'guided_classifier_adaptive', 'classifier_tiny.pt', 'logits'),
}  # fmt: skip


def floats(tree, dtype):
  """A tree with its floating-point arrays in a dtype."""
  cast = lambda a: a.astype(dtype) if a.dtype.kind == 'f' else a
  return jax.tree.map(lambda a: cast(np.asarray(a)), tree)


def condition(arrays):
  """What a network is told beside the image and the time."""
  names = {'y': 'label', 'low_res': 'low_res'}
  return {ours: arrays[name] for name, ours in names.items() if name in arrays}


def close(found, arrays, name):
  """Float32 by the rounding of the official code, float64 to 1e-6."""
  single, double = arrays[name], arrays[f'{name}__f64']
  bound = abs(double).max()
  if found.dtype == np.float64:
    np.testing.assert_allclose(found, double, rtol=0, atol=1e-6 * bound)
  else:
    atol = 10 * abs(single - double).max() + 2e-6 * bound
    np.testing.assert_allclose(found, single, rtol=0, atol=atol)


@functools.cache
def loaded(name):
  """A set's family, conversion and arrays, and its network compiled.

  That gives its output and, which is compared too, its embedding of the time.
  """
  family, path, config, arrays = SETS[name]()
  found = imported.convert(path, None, config)
  network = configs.build(found.network)

  @jax.jit
  def apply(params, x, t, cond):
    out, seen = network.apply(
      {'params': params}, x, t, cond, mutable='intermediates',
      capture_intermediates=lambda module, _: module.name == 'time')
    return out, seen['intermediates']['time']['__call__'][0]

  return family, found, arrays, apply


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('name', SETS)
def test_networks_are_the_official_ones(name, dtype):
  family, found, arrays, apply = loaded(name)
  assert found.info['family'] == family
  assert found.info['image_shape'] == arrays['x'].shape[1:]
  cond = condition(arrays) if 'logits' not in arrays else {}
  with jax.enable_x64(dtype == np.float64):
    params, x, cond = floats((found.params, arrays['x'], cond), dtype)
    t = dtype(arrays['t'])
    out, code = apply(params, x, t, cond)
    assert out.dtype == dtype
    close(out, arrays, 'out')
    if 'time_emb' in arrays:
      close(code, arrays, 'time_emb')
      close(apply(params, x, dtype(arrays['t_frac']), cond)[0], arrays,
            'out_t_frac')
    if 'grad_logp_x' in arrays:
      label = jnp.asarray(arrays['y'])[:, None]

      def chosen(x):
        logp = jax.nn.log_softmax(apply(params, x, t, cond)[0])
        return jnp.take_along_axis(logp, label, axis=-1).sum()

      close(jax.grad(chosen)(x), arrays, 'grad_logp_x')


def test_old_files_hold_the_same():
  *_, config, _ = shared(
    'guided_classifier_adaptive', 'classifier_tiny.pt', 'logits')
  folder = SHARED / 'guided_classifier_adaptive'
  new, old = (adm.convert(container.read(folder / f'classifier_{name}.pt'),
                          config) for name in ('tiny', 'tiny_legacy'))
  assert new.spec == old.spec
  jax.tree.map(np.testing.assert_array_equal, new.params, old.params)


def model(name):
  """An importer's objective, conversion and arrays, and its network."""
  _, found, arrays, apply = loaded(name)
  objective = configs.build(found.spec)
  network = lambda params, cond: lambda x, noise: apply(
    params, x, noise, cond)[0]
  return objective, found, arrays, network


def stepped(denoise, process, solver, x, times, draws):
  """Every x after a step, the last one the denoiser's x_0."""
  noise, states = sampling.Recorded(draws[:, None]), []
  for i, (t, s) in enumerate(itertools.pairwise(times)):
    t, s = (jnp.asarray(time, x.dtype) for time in (t, s))
    x, _ = solver.step(denoise, process, (), x, t, s, noise.at(i))
    states.append(x)
  return np.stack([*states, denoise(x, jnp.asarray(times[-1], x.dtype)).x0])


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('schedule', ['linear', 'cosine'])
@pytest.mark.parametrize(
  'name', ['golden U-Net', 'golden U-Net of convolutions'])
def test_samples_are_the_official_ones(name, schedule, dtype):
  objective, found, arrays, network = model(name)
  if schedule == 'cosine':
    process = processes.CosineBetas()
  else:
    process = objective.process
    assert process == processes.LinearBetas()
  levels = arrays[f'sample_{schedule}_timestep_map'][::-1]
  times = (levels + 1) / process.levels
  # clip_denoised; the large variance where none is learned.
  spread = found.info['spread'] or 0.0
  with jax.enable_x64(dtype == np.float64):
    betas = process.transition(times[:-1], times[1:])[1]
    np.testing.assert_allclose(
      betas, arrays[f'sample_{schedule}_betas'][:0:-1], rtol=2e-5)
    params, x, draws = floats(
      (found.params, arrays['x'], arrays[f'sample_{schedule}_noises']), dtype)
    denoise = denoising.thresholded(
      denoisers.of_network(
        network(params, condition(arrays)), process, objective.target,
        objective.inputs, learned_range=objective.learned_range),
      process)
    for kind, eta in (('ddpm', 1.0), ('ddim', 0.0)):
      solver = sampling.DDIM(eta=eta, spread=spread)
      path = stepped(denoise, process, solver, jnp.asarray(x), times, draws)
      close(path, arrays, f'sample_{schedule}_{kind}_traj')


def at_the_first_level(process, spread, times, dtype):
  """The variance with which ADM moves its last mean, where none is drawn."""
  t, s = (jnp.asarray(time, dtype) for time in times[-2:])
  small = process.posterior(jnp.zeros(1), jnp.zeros(1), t, s)[1]
  large = process.sigma(s) ** 2
  return jnp.exp(objectives.Learned()(
    jnp.log(small), jnp.log(large), jnp.asarray(True), spread))


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_guided_samples_are_the_official_ones(dtype):
  objective, found, _, network = model('golden U-Net')
  reader, judge, _, judged = model('golden classifier')
  _, _, settings, arrays = shared(
    'guided_sampling', 'config.json', 'ddpm_traj')
  process, scale = objective.process, settings['config']['classifier_scale']
  times = (arrays['timestep_map'][::-1] + 1) / process.levels
  with jax.enable_x64(dtype == np.float64):
    params, weights, x, draws = floats(
      (found.params, judge.params, jnp.asarray(arrays['x']),
       arrays['noises']), dtype)

    def log_prob(x, t):
      _, noise = reader.inputs(process, jnp.broadcast_to(t, x.shape[:1]))
      return jax.nn.log_softmax(judged(weights, {})(x, noise))

    gradient = denoising.label_gradient(log_prob, arrays['y'])
    plain = denoising.thresholded(
      denoisers.of_network(
        network(params, condition(arrays)), process, objective.target,
        objective.inputs, learned_range=True), process)
    guided = denoising.classifier_guided(
      plain, process, log_prob, arrays['y'], scale)
    push = lambda x, t: scale * gradient(x, t)
    run = functools.partial(
      stepped, process=process, x=jnp.asarray(x), times=times, draws=draws)
    ancestral = sampling.DDIM(eta=1.0)
    close(run(plain, solver=ancestral), arrays, 'ddpm_traj_unguided')
    close(run(plain, solver=sampling.DDIM()), arrays, 'ddim_traj_unguided')
    close(run(guided, solver=sampling.DDIM()), arrays, 'ddim_traj')
    path = run(plain, solver=sampling.DDIM(eta=1.0, gradient=push))
    before, last = jnp.asarray(path[-2]), jnp.asarray(times[-1], dtype)
    variance = at_the_first_level(
      process, plain(before, last).spread, times, dtype)
    path[-1] += variance * push(before, last)
    close(path, arrays, 'ddpm_traj')


# Of 12 levels, by hand: whole strides, and three and two of two halves.
@pytest.mark.parametrize(('asked', 'levels', 'eta'), [
  ({}, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 1.0),
  ({'timestep_respacing': 'ddim4', 'use_ddim': True}, [9, 6, 3, 0], 0.0),
  ({'timestep_respacing': '3,2'}, [11, 6, 5, 2, 0], 1.0),
  ({'timestep_respacing': [3, 2]}, [11, 6, 5, 2, 0], 1.0),
  ({'timestep_respacing': 2}, [11, 0], 1.0),
])
@pytest.mark.parametrize(('name', 'settings', 'spread'), [
  ('unet', {}, 0.0),  # learned
  ('cm', {}, 1.0), ('cm', {'sigma_small': True}, 0.0),
])
def test_a_work_directory_samples_as_asked(
  asked, levels, eta, name, settings, spread
):
  tree, config = file(name)
  config = config | settings | asked | {
    'diffusion_steps': 12, 'rescale_timesteps': False,
    'noise_schedule': 'cosine'}
  found = adm.convert(tree, config)
  config = workdir.complete(found, {})
  sampler = configs.build(config['sampler'], trusted=False)
  process = configs.build(config['objective']['process'])
  np.testing.assert_array_equal(
    process.index(sampler.grid(process)), levels)
  assert sampler.solver == sampling.DDIM(eta=eta, spread=spread)


@pytest.mark.parametrize('asked', ['7,7', '0', 'ddim11', 'many', '2.5'])
def test_levels_that_are_not_there(asked):
  tree, config = file('unet')
  config = config | {
    'diffusion_steps': 12, 'rescale_timesteps': False,
    'timestep_respacing': asked}
  with pytest.raises(errors.ConfigError, match='timestep_respacing is'):
    adm.convert(tree, config)


def test_files_of_other_code_are_not_taken():
  for tree in (
    None, {}, {'time_embed.0.weight': np.zeros(1)},
    {'time_embed.0.weight': np.zeros(1), 'input_blocks.0.0.weight': np.zeros(1),
     'input_blocks.1.1.transformer_blocks.0.norm1.weight': np.zeros(1)},
  ):  # fmt: skip
    assert not adm.recognises(tree)
    assert not consistency_models.recognises(tree)


def file(name):
  _, path, config, _ = kept(name)
  return container.read(path), config['config']


def test_weights_that_do_not_fit_are_all_named():
  tree, config = file('unet')
  lost = [name for name in tree if name.startswith('middle_block.1.')]
  broken = {name: tree[name] for name in tree if name not in lost}
  with pytest.raises(errors.CheckpointError) as raised:
    adm.convert(broken | {'extra.weight': np.zeros(3)}, config)
  assert all(name in str(raised.value) for name in lost)
  assert 'unknown: extra.weight' in str(raised.value)
  assert '\n' not in str(raised.value)
  with pytest.raises(errors.CheckpointError, match='no arrays: step'):
    adm.convert(tree | {'step': 7}, config)
  with pytest.raises(errors.CheckpointError, match=r'missing: out\.2\.weight'):
    adm.convert(
      {name: tree[name] for name in tree if name != 'out.2.weight'}, config)


@pytest.mark.parametrize(('changes', 'message'), [
  (dict(num_res_blocks=2), 'num_res_blocks is 2 .* with 1'),
  (dict(channel_mult='1,2'), "channel_mult is '1,2'"),
  (dict(attention_resolutions=[1]), 'attention_resolutions'),
  (dict(use_scale_shift_norm='False'), "use_scale_shift_norm is 'False'"),
  (dict(resblock_updown=False), 'resblock_updown'),
  (dict(num_classes=None, class_cond=False), 'class_cond'),
  (dict(learn_sigma=False), 'learn_sigma'),
  (dict(model_channels=64), 'model_channels is 64 .* with 32'),
  (dict(in_channels=1), 'in_channels is 1 .* with 3'),
  (dict(image_size=7), 'the side of images is 7'),
  (dict(num_heads=5), 'num_heads is 5, which does not divide'),
  (dict(num_head_channels=5), 'num_head_channels is 5'),
  (dict(num_head_channel=16), 'did you mean num_head_channels'),
  (dict(noise_schedule='other'), "'other' in the config; known are linear, c"),
  (dict(dropout='much'), 'not a number'),
  (dict(use_kl='perhaps'), 'use_kl'),
  (dict(dims=3), 'dims is 3'),
])
def test_arguments_that_contradict_the_file_are_named(changes, message):
  tree, config = file('unet')
  with pytest.raises(errors.ConfigError, match=message):
    adm.convert(tree, config | changes)


def test_what_a_file_cannot_tell_is_asked_for():
  tree, config = file('unet')
  with pytest.raises(errors.ConfigError, match=r'arch\.num_heads=N'):
    adm.convert(tree, {'image_size': 8})
  with pytest.raises(errors.ConfigError, match=r'arch\.image_size=N'):
    adm.convert(tree, {'num_heads': 2})
  with pytest.raises(errors.ConfigError, match=r'arch\.rescale_timesteps'):
    sr, given = file('sr')
    adm.convert(sr, given | {'diffusion_steps': 4000})
  # The scripts' names give the same network as the constructor's.
  scripts = dict(
    image_size=8, num_channels=32, num_heads=2, num_heads_upsample=4,
    attention_resolutions='4', channel_mult='1,1', class_cond='True',
    learn_sigma=True, resblock_updown=True, use_scale_shift_norm=True)
  assert adm.convert(tree, scripts).spec == adm.convert(tree, config).spec


def test_diffusion_arguments():
  tree, config = file('sr')

  def spec(**changes):
    return configs.build(adm.convert(tree, config | changes).spec)

  plain = spec()
  assert plain.process == processes.LinearBetas()
  assert plain.learned_range
  cosine = spec(
    noise_schedule='cosine', diffusion_steps=4000, rescale_timesteps=True,
    predict_xstart=True)
  assert cosine.process == processes.CosineBetas(levels=4000)
  assert cosine.target == denoising.Data()
  hybrid = (plain.simple_weight, plain.bound_weight, plain.detached)
  assert hybrid == (1, 1 / 1000, True)
  assert spec(rescale_learned_sigmas=True).bound_weight == 1e-3
  bound = spec(use_kl=True, schedule_sampler='loss-second-moment')
  assert (bound.simple_weight, bound.bound_weight, bound.detached) == (
    0, 1, False)
  assert bound.init_aux().counts.shape == (1000,)
  # Level 8 of 4,000, at t = 9 / 4000, is time 2 of the network.
  _, noise = cosine.inputs(cosine.process, jnp.array([9 / 4000]))
  np.testing.assert_allclose(noise, [2.0], rtol=1e-5)
  # 50 levels reach the same alpha as 1,000.
  short = spec(diffusion_steps=50, rescale_timesteps=False).process
  np.testing.assert_allclose(short.betas()[[0, -1]], [0.002, 0.4])


def test_our_configs_give_the_arguments_back():
  for name, importer in (('unet', adm), ('cm', consistency_models)):
    tree, config = file(name)
    found = importer.convert(tree, config)
    told = importer.official(found.spec)
    size = found.info['image_shape'][0]
    again = importer.convert(tree, told | {'data': {'image_size': size}})
    assert again.spec == found.spec
  with pytest.raises(errors.ConfigError, match='no process'):
    adm.official({'process': {'type': 'processes.VE'}})
