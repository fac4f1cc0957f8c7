"""The design's rules about the source, by reading it."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / 'difjax'
MODULES = sorted(PACKAGE.rglob('*.py'))
EVERYTHING = sorted(
  [*MODULES, *(ROOT / 'configs').rglob('*.py'), *(ROOT / 'tests').rglob('*.py')]
)

# Who may import whom: a package may import those that stand before it.
COMMON = (
  'compilation', 'config', 'environment', 'errors', 'pytree', 'supervisor',
  'typing',
)  # fmt: skip
LEAVES = ('data', 'metrics', 'networks')
CHAIN = (
  'processes', 'denoising', 'sampling', 'objectives', 'training', 'evaluation',
  'interop', 'export', 'cli',
)  # fmt: skip

# Inside a package a file imports only files that stand left of it.
ORDER = {
  'processes': 'base vp ve flow discrete transforms',
  'denoising': (
    'prediction targets conditioning denoiser guidance contrast thresholding '
    'restoration'
  ),
  'sampling': (
    'noise grids levels solver samplers ancestral dpm_solver singlestep fast '
    'adaptive stochastic free_diffusion churn restart consistency coordinates '
    'langevin resampling tables multistep sde_multistep ode likelihood'
  ),
  'objectives': (
    'base times weightings denoising uncertainty bound hybrid classifier'
  ),
  'networks': (
    'layers embeddings norms attention resample unet_blocks unet_trunk unet '
    'unet_encoder dit uvit refinenet wideresnet edm2_layers edm2 costs'
  ),
  'data': (
    'source order images transforms mapped workers pipeline device digits '
    'idx cifar npz folder synthetic example tfrecord tfds lmdb stylegan '
    'prepare tar tar_index shards text'
  ),
  'metrics': (
    'statistics classifier frechet distances nearest precision_recall '
    'two_sample scores kernel extrapolation memorisation extraction '
    'reference resize features inception resnet clip dinov2'
  ),
  'training': (
    'distributed state ema optimisers mesh sharding manifest schema '
    'checkpoint cadence lock writers augmentation accumulation step hooks '
    'posthoc events goodput watchdog preemption stragglers supervision '
    'topology tracing trainer facts log resume loop'
  ),
  'evaluation': (
    'baselines distribution plots curves report quantisers sample_set '
    'sample_formats sample_statistics trained samples parts quality '
    'npz_images image_set feature_nets gathered figures references card '
    'compare scoring step_sweep scored published '
    'loss likelihood guided controlled job sections memorised memorised_page '
    'sweep mixture solver_study inspected inspected_page '
    'gallery study bench checkpoint_bench ode_bench input_bench profile peers '
    'timings feature_peer speed host_speed suite '
    'hlo collectives compiler plan plan_page planned'
  ),
  'interop': (
    'records unpickle persistent torch_file msgpack_file safetensors_file '
    'container base inverse score_sde_config score_sde_settings score_sde_keys '
    'score_sde_weights score_sde_refinenet_keys score_sde_refinenet score_sde '
    'edm_arguments edm_diffusion edm_keys edm edm_official edm2 '
    'adm_settings adm_keys adm_networks adm consistency_models '
    'dit_layout dit sit native imported workdir '
    'feature_files inception resnet clip dinov2 edm2_reference '
    'feature_networks'
  ),
  'export': 'stablehlo archive official files',
  'cli': 'arguments train sample export scoring evaluate report convert '
    'reproduce ema inspect data suite bench doctor plan supervise goodput',
}

# Comparisons with a string literal outside config, cli and file formats, with
# the reason for each.
STRINGS = {
  'training/loop.py': 'the name of a backend of jax',
  'evaluation/bench.py': 'the name of a backend of jax',
  'objectives/denoising.py': 'the one key of a batch that is no condition',
}


def _name(path: pathlib.Path) -> str:
  return str(path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT))


@functools.cache
def _tree(path: pathlib.Path) -> ast.Module:
  return ast.parse(path.read_text(), str(path))


def _ours(path: pathlib.Path) -> list[tuple[str, ...]]:
  """Lists what a module imports of difjax, as (package, module, ...)."""
  found = []
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.ImportFrom) and node.level == 0:
      first = tuple((node.module or '').split('.'))
      found += [(*first, alias.name) for alias in node.names]
    elif isinstance(node, ast.Import):
      found += [tuple(alias.name.split('.')) for alias in node.names]
  return [parts[1:] for parts in found if parts[0] == 'difjax' and parts[1:]]


def _functions(path: pathlib.Path) -> list[ast.FunctionDef]:
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
  return [node for node in ast.walk(_tree(path)) if isinstance(node, kinds)]


@pytest.mark.parametrize('path', EVERYTHING, ids=_name)
def test_sizes(path):
  lines = path.read_text().splitlines()
  assert len(lines) <= 400
  long = [
    f'{node.name}: {node.end_lineno - node.lineno + 1}'
    for node in _functions(path)
    if node.end_lineno - node.lineno + 1 > 60
  ]
  assert not long


@pytest.mark.parametrize(
  'path',
  [p for p in sorted((ROOT / 'configs').rglob('*/*.py'))
   if not p.stem.endswith('parts')],
  ids=_name,
)
def test_configs_fit_a_screen(path):
  assert len(path.read_text().splitlines()) <= 45


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_imports_go_one_way(path):
  package, *rest = path.relative_to(PACKAGE).parts
  if not rest:  # difjax/__init__.py, config.py, ...
    allowed = set(COMMON)
  elif package in LEAVES:
    allowed = {*COMMON, package}
    if package == 'metrics':
      allowed.add('networks')
  else:
    place = CHAIN.index(package)
    allowed = {*COMMON, *LEAVES, *CHAIN[: place + 1]}
    if package in ('processes', 'denoising', 'sampling'):
      allowed -= set(LEAVES)
  wrong = [parts for parts in _ours(path) if parts[0] not in allowed]
  assert not wrong


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_files_import_only_those_before_them(path):
  package, *rest = path.relative_to(PACKAGE).parts
  if not rest or path.stem == '__init__':
    return
  order = ORDER[package].split()
  assert path.stem in order, f'{path.stem} is not placed in ORDER'
  before = order[: order.index(path.stem)]
  beside = [p[1] for p in _ours(path) if p[0] == package and len(p) > 1]
  assert not [name for name in beside if name in order and name not in before]


def test_order_names_only_files_that_exist():
  for package, order in ORDER.items():
    found = {path.stem for path in (PACKAGE / package).glob('*.py')}
    assert set(order.split()) == found - {'__init__'}, package


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_no_isinstance_on_our_own_classes(path):
  ours = _classes()
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') in (
      'isinstance', 'issubclass'
    ):  # fmt: skip
      named = {
        getattr(part, 'attr', getattr(part, 'id', None))
        for part in ast.walk(node.args[1])
      }
      assert not named & ours, ast.unparse(node)


@functools.cache
def _classes() -> frozenset[str]:
  walks = (ast.walk(_tree(module)) for module in MODULES)
  return frozenset(
    node.name for walk in walks for node in walk
    if isinstance(node, ast.ClassDef)
  )  # fmt: skip


def _is_text(node: ast.expr) -> bool:
  if isinstance(node, ast.Tuple | ast.List | ast.Set):
    return any(map(_is_text, node.elts))
  return isinstance(node, ast.Constant) and isinstance(node.value, str)


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_no_switch_on_strings(path):
  name = _name(path)
  if name in STRINGS or name.startswith(('cli/', 'data/')) or name in (
    'config.py', '__main__.py',
  ):  # fmt: skip
    return
  for node in ast.walk(_tree(path)):
    assert not isinstance(node, ast.Match), f'match at line {node.lineno}'
    if isinstance(node, ast.Compare):
      switches = [
        op
        for op, right in zip(node.ops, node.comparators, strict=True)
        if isinstance(op, ast.Eq | ast.NotEq)
        and (_is_text(right) or _is_text(node.left))
      ]
      assert not switches, ast.unparse(node)


def test_listed_exceptions_are_still_needed():
  for name in STRINGS:
    compares = [
      node
      for node in ast.walk(_tree(PACKAGE / name))
      if isinstance(node, ast.Compare)
      and any(map(_is_text, [node.left, *node.comparators]))
    ]
    assert compares, f'{name} needs no exception any more'


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_no_mutable_state_in_modules(path):
  """Module-level names bind no list, dict or set: that would be a registry."""
  for node in _tree(path).body:
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
      node.value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp
    ):
      targets = node.targets if isinstance(node, ast.Assign) else [node.target]
      names = [ast.unparse(target) for target in targets]
      assert names == ['__all__'], f'{names} at line {node.lineno}'


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_public_names_are_documented_and_annotated(path):
  tree = _tree(path)
  assert ast.get_docstring(tree) or path.name == '__init__.py', 'no docstring'
  scopes = [tree, *(n for n in tree.body if isinstance(n, ast.ClassDef))]
  for scope in scopes:
    if getattr(scope, 'name', '').startswith('_'):
      continue
    for node in scope.body:
      if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
        assert ast.get_docstring(node), node.name
      if not isinstance(node, ast.FunctionDef) or (
        node.name.startswith('_') and node.name != '__call__'
      ):
        continue
      assert ast.get_docstring(node), f'{node.name} has no docstring'
      arguments = [*node.args.posonlyargs, *node.args.args]
      arguments += node.args.kwonlyargs
      bare = [
        argument.arg
        for argument in arguments
        if argument.annotation is None and argument.arg not in ('self', 'cls')
      ]
      assert not bare, f'{node.name} leaves {bare} without annotation'
      assert node.returns is not None, f'{node.name} says not what it returns'


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_no_tensorflow_and_no_torch(path):
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [node.module or '']
    else:
      continue
    roots = {name.split('.')[0] for name in names}
    barred = {'tensorflow', 'torch', 'clu'}
    if _name(path) in (  # time one beside ours
      'evaluation/peers.py', 'evaluation/feature_peer.py',
    ):  # fmt: skip
      barred.remove('torch')
    assert not roots & barred, ast.unparse(node)


def test_configs_read_without_jax():
  for path in (ROOT / 'configs').rglob('*.py'):
    for node in ast.walk(_tree(path)):
      if isinstance(node, ast.Import | ast.ImportFrom):
        module = getattr(node, 'module', None) or node.names[0].name
        assert module.split('.')[0] in ('ml_collections', 'configs', 'typing')


def test_the_top_level_is_fixed():
  listed = {
    'difjax', 'configs', 'launch', 'tests', 'setup.cfg', 'README.md',
    'pyproject.toml', 'LICENSE',
  }  # fmt: skip
  made = {'runs', 'build', 'dist', 'difjax.egg-info', 'data'}
  found = {p.name for p in ROOT.iterdir() if not p.name.startswith('.')}
  assert found - made <= listed


def test_no_file_is_called_utils():
  assert not [path for path in EVERYTHING if 'util' in path.stem]
