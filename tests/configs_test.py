"""Every config builds, has the parameters that its header states, and more."""

import functools
import json
import pathlib
import re

import jax
import numpy as np
import pytest

from difjax import config, errors, pytree, sampling
from difjax.cli import arguments, train
from difjax.evaluation import quantisers
from difjax.metrics import resize
from tests import analytic

FOLDER = pathlib.Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(
  path
  for path in FOLDER.rglob('*.py')
  if not path.stem.endswith(('parts', 'benchmarks'))
  and path.parent.name != 'peers'
)
SHAPES = {  # of an image, and classes: the data themselves are not at hand
  'quickstart': ((8, 8, 1), 10),
  'solver_study': ((8, 8, 1), 10),
  'folder': ((32, 32, 3), 0),
  'shards': ((32, 32, 3), 0),
  'cifar10': ((32, 32, 3), 0),
  'cifar10/classifier_ve': ((32, 32, 3), 10),
  'cifar10/edm_ve_cond': ((32, 32, 3), 10),
  'cifar10/edm_vp_cond': ((32, 32, 3), 10),
  'afhqv2': ((64, 64, 3), 0),
  'cifar10/edm_unet_16': ((16, 16, 3), 0),
  'cifar10/memorisation_16': ((16, 16, 3), 0),
  'celeba': ((64, 64, 3), 0),
  'celebahq': ((256, 256, 3), 0),
  'fashion_mnist/edm_unet': ((28, 28, 1), 10),
  'fashion_mnist': ((16, 16, 1), 10),
  'ffhq': ((256, 256, 3), 0),
  'imagenet': ((256, 256, 3), 1_000),
  'imagenet/adm_256_uncond': ((256, 256, 3), 0),
  'imagenet/dit_xl2': ((32, 32, 4), 1_000),  # latents
  'imagenet/edm2_xxl': ((64, 64, 4), 1_000),
  'imagenet64': ((64, 64, 3), 1_000),
  'lsun': ((256, 256, 3), 0),
}
# As counted in networks built by the official code from its own configs.
PUBLISHED = {
  'cifar10/ncsnpp_ve': 62_758_915,
  'cifar10/ncsnpp_ve_deep': 107_587_075,
  'cifar10/ncsnpp_ve_discrete': 62_693_251,
  'cifar10/ncsnpp_vp': 62_693_251,
  'cifar10/ncsnpp_vp_deep': 107_521_411,
  'cifar10/ncsnpp_vp_discrete': 62_693_251,
  'cifar10/ncsnpp_subvp': 62_693_251,
  'cifar10/ncsnpp_subvp_deep': 107_521_411,
  'cifar10/ddpmpp_vp': 61_804_419,
  'cifar10/ddpmpp_vp_deep': 106_632_579,
  'cifar10/ddpmpp_vp_discrete': 61_804_419,
  'cifar10/ddpmpp_subvp': 61_804_419,
  'cifar10/ddpmpp_subvp_deep': 106_632_579,
  'cifar10/ddpm_ve_discrete': 35_218_947,
  'cifar10/ddpm_vp': 35_218_947,
  'cifar10/ddpm_vp_discrete': 35_218_947,
  'cifar10/ddpm_vp_unconditional': 32_329_347,
  'cifar10/ddpm_subvp': 35_218_947,
  'cifar10/ncsn': 34_428_675,
  'cifar10/ncsn_ema': 34_428_675,
  'cifar10/ncsn_scales': 44_828_931,
  'cifar10/ncsn_scales_ema': 44_828_931,
  'cifar10/ncsnv2': 33_970_563,
  'cifar10/classifier_ve': 38_913_242,
  'cifar10/ddpm': 35_746_307,
  'cifar10/iddpm_simple': 52_542_979,
  'cifar10/iddpm_hybrid': 52_546_438,
  'cifar10/iddpm_vlb': 52_546_438,
  'cifar10/uvit_s2': 44_255_328,
  'cifar10/edm_vp': 55_733_891,
  'cifar10/edm_vp_cond': 55_735_299,
  'cifar10/edm_ve': 56_397_827 + 128,  # and the fixed frequencies
  'cifar10/edm_ve_cond': 56_400_643 + 128,
  'ffhq/edm_vp_64': 61_805_571,
  'ffhq/edm_ve_64': 62_761_091 + 128,
  'afhqv2/edm_vp_64': 61_805_571,
  'afhqv2/edm_ve_64': 62_761_091 + 128,
  'imagenet/adm_128': 421_529_606,
  'imagenet/adm_256': 553_838_086,
  'imagenet/adm_256_uncond': 552_814_086,
  'imagenet/adm_512': 558_997_638,
  'imagenet/adm_classifier_128': 42_568_040,
  'imagenet/adm_classifier_256': 54_096_360,
  'imagenet/adm_classifier_512': 54_448_360,
  'imagenet/adm_upsampler_256': 311_795_910,
  'imagenet/adm_upsampler_512': 308_835_270,
  'imagenet/iddpm_upsampler_256': 279_792_390,
  'imagenet64/adm': 295_904_454,
  'imagenet64/adm_classifier': 65_438_568,
  'imagenet64/edm_adm': 295_899_267,
  'imagenet64/iddpm_simple': 121_060_483,
  'imagenet64/iddpm_hybrid': 121_063_942,
  'imagenet64/iddpm_vlb': 121_063_942,
  'imagenet64/iddpm_cond': 273_049_350,
  'celeba/ncsn': 34_428_675,
  'celeba/ncsn_ema': 34_428_675,
  'celeba/ncsn_scales': 57_384_195,
  'celeba/ncsn_scales_ema': 57_384_195,
  'celeba/ncsnv2': 33_970_563,
  'celeba/ncsnpp_ve_discrete': 62_693_251,
  'celebahq/ddpm_256': 113_673_219,
  'celebahq/ddpm_vp_discrete_256': 111_569_923,
  'celebahq/ncsnpp_ve_256': 65_574_549,
  'celebahq/ncsnpp_ve_1024': 105_785_896,
  'ffhq/ncsnpp_ve_256': 65_574_549,
  'ffhq/ncsnpp_ve_1024': 105_785_896,
  'lsun/bedroom_adm': 552_814_086,
  'lsun/bedroom_ddpm': 113_673_219,
  'lsun/bedroom_iddpm': 113_676_678,
  'lsun/bedroom_iddpm_slow': 113_676_678,
  'lsun/cat_adm': 552_814_086,
  'lsun/cat_ddpm': 113_673_219,
  'lsun/church_ddpm': 113_673_219,
  'lsun/horse_adm': 552_814_086,
  'lsun/bedroom_ddpm_vp_discrete': 111_569_923,
  'lsun/bedroom_ncsnpp_ve': 65_574_549,
  'lsun/bedroom_ncsnv2_128': 83_445_379,
  'lsun/church_ddpm_vp_discrete': 111_569_923,
  'lsun/church_ncsnpp_ve': 65_574_549,
}
# The same parts, less of them: what an objective traces quickly.
SHALLOW = {
  'networks.UNet': {
    'multipliers': (1, 1), 'blocks_per_level': 1, 'channels': 64
  },
  'networks.UNetEncoder': {
    'multipliers': (1, 1), 'blocks_per_level': 1, 'channels': 64
  },
  'networks.MPUNet': {
    'multipliers': (1, 1), 'blocks_per_level': 1, 'channels': 64
  },
  'networks.RefineNet': {
    'multipliers': (1, 1), 'dilations': (1, 1), 'refine_multipliers': (1, 1),
  },
}  # fmt: skip


def _name(path):
  return str(path.relative_to(FOLDER).with_suffix(''))


def _spec(path):
  return arguments.config_file(str(path)).to_dict()


def _probe(path, shape=None):
  name = _name(path)
  known, classes = SHAPES.get(name) or SHAPES[name.partition('/')[0]]
  side = re.search(r'_(\d+)$', path.stem)
  if side:
    known = (int(side[1]), int(side[1]), known[2])
  image = jax.ShapeDtypeStruct((2, *(shape or known)), np.float32)
  label = {'label': jax.ShapeDtypeStruct((2,), np.int32)} if classes else {}
  return {'image': image, **label}


def _header(path, key, default=None):
  """Returns a field of a config's header, which may go on, indented."""
  field = rf'^{key:<11}((?:.+\n)(?: {{11}}.+\n)*)'
  found = re.search(field, path.read_text(), re.MULTILINE)
  if found is None:
    return default
  return ' '.join(found[1].removesuffix('"""\n').split())


@pytest.fixture(scope='module')
def counts():
  """Counts by network and shape: many configs share one, and it is slow."""
  return {}


@pytest.fixture(scope='module')
def losses():
  """Shapes of losses by objective, likewise."""
  return {}


@pytest.mark.parametrize('path', CONFIGS, ids=_name)
def test_builds_with_the_stated_parameters(path, counts):
  spec, probe = _spec(path), _probe(path)
  trainer = train.build(spec)
  network = dict(spec['objective']['network'], dropout=None)
  init = type(trainer.objective).init.__qualname__
  key = json.dumps([init, network], sort_keys=True) + str(probe)
  if key not in counts:
    init = jax.eval_shape(trainer.objective.init, jax.random.key(0), probe)
    counts[key] = pytree.count(init)
  assert counts[key] == int(_header(path, 'Parameters').replace(',', ''))
  assert counts[key] == PUBLISHED.get(_name(path), counts[key])
  for field in ('Paper', 'Cost', 'Data', 'Command'):
    assert _header(path, field)


def test_published_counts_are_of_configs_that_exist():
  assert {*PUBLISHED} <= {_name(path) for path in CONFIGS}


def _loss(objective, batch):
  """Traces a loss."""
  key = jax.random.key(0)
  params = jax.eval_shape(objective.init, key, batch)
  loss, _ = jax.eval_shape(
    lambda p, aux, b: objective.loss(p, aux, None, b, key, step=0, ema={}),
    params,
    objective.init_aux(),
    batch,
  )
  return loss


@pytest.mark.parametrize('path', CONFIGS, ids=_name)
def test_a_loss_can_be_traced(path, losses):
  spec, shape = _spec(path), None
  network = spec['objective']['network']
  if network['type'] in SHALLOW:
    network.update(SHALLOW[network['type']])
    shape = (8, 8, _probe(path)['image'].shape[-1])
  batch = _probe(path, shape)
  key = json.dumps(spec['objective'], sort_keys=True) + str(batch)
  if key not in losses:
    losses[key] = _loss(train.build(spec).objective, batch).shape
  assert losses[key] == ()


@functools.cache
def _sampled(way):
  """Runs a sampler on Gaussian data by their exact denoiser: x, evaluations."""
  process, sampler = (
    config.build(spec, path='config') for spec in json.loads(way)
  )
  data, shape = analytic.Gaussian(mean=0.2, std=0.5), (16, 8, 8, 1)

  @jax.jit
  def run(key):
    x = process.prior(key, shape)
    noise = sampling.Keys(sampling.image_keys(0, np.arange(16)))
    return sampler(data.denoiser(process), process, x, noise)

  x, evaluations = run(jax.random.key(0))
  return np.asarray(x), int(evaluations[0])


@pytest.mark.parametrize('path', CONFIGS, ids=_name)
def test_the_sampler_samples_at_the_stated_cost(path):
  spec = _spec(path)
  if 'sampler' not in spec:
    pytest.skip('this config has no sampler')
  x, evaluations = _sampled(
    json.dumps([spec['objective']['process'], spec['sampler']])
  )
  # 1,024 numbers of N(0.2, 0.5^2): four standard errors, and what a finite
  # number of steps leaves behind.
  assert abs(x.mean() - 0.2) < 0.1
  assert abs(x.std() - 0.5) < 0.08
  stated = re.search(r'at ([\d,]+) eval', _header(path, 'Published', ''))
  assert stated is None or int(stated[1].replace(',', '')) == evaluations


@pytest.mark.parametrize('path', CONFIGS, ids=_name)
def test_a_saved_config_needs_no_trust(path, tmp_path):
  config.save(arguments.config_file(str(path)), tmp_path / 'config.json')
  saved = config.load(tmp_path / 'config.json')
  config.build(saved, trusted=False)


def test_published_figures_are_those_of_the_headers():
  """With the protocol that `difjax reproduce` compares by."""
  stated = {p: _spec(p).get('published') for p in CONFIGS}
  stated = {path: spec for path, spec in stated.items() if spec}
  assert {'cifar10/edm_vp', 'cifar10/ncsnpp_ve'} <= {*map(_name, stated)}
  for path, spec in stated.items():
    found = config.build(spec, trusted=False)
    header = _header(path, 'Published')
    assert f'FID {found.figures["fid"]} ' in header.replace(',', ' ')
    assert f'at {found.evaluations:,} evaluations' in header
    assert found.convention in resize.CONVENTIONS
    assert found.quantiser in quantisers.NAMED
    for name, (low, high) in found.spread.items():
      assert low <= found.figures[name] <= high


def _row(path):
  name = path.relative_to(FOLDER)
  cells = (
    f'[{name}]({name})', _header(path, 'Paper'),
    _header(path, 'Published', 'none'), _header(path, 'Parameters'),
    _header(path, 'Cost'),
  )  # fmt: skip
  return f'| {" | ".join(cells)} |'


def test_the_table_of_recipes_is_that_of_the_headers():
  text = (FOLDER / 'README.md').read_text()
  for folder in sorted({path.parent for path in CONFIGS}):
    rows = [_row(path) for path in CONFIGS if path.parent == folder]
    table = '\n'.join(['|---|---|---|---|---|', *rows])
    assert table in text, f'in configs/README.md, of {folder.name}:\n{table}'
  assert text.count('\n| [') == len(CONFIGS)


def test_missing_data_are_named():
  trainer = train.build(_spec(FOLDER / 'cifar10' / 'ddpmpp_vp.py'))
  with pytest.raises(errors.DataError, match='cifar'):
    trainer.data.rows(0, np.arange(1))
