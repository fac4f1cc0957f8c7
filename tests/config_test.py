"""Objects from plain data: what is built, and what is refused, in one line."""

from __future__ import annotations

import json

import flax.linen
import optax
import pytest
from ml_collections import config_dict

from difjax import config, data, errors, objectives, processes, sampling

FLOW = dict(type='processes.RectifiedFlow')


def refused(spec, **options):
  """Returns the one line with which a spec is refused."""
  with pytest.raises(errors.ConfigError) as error:
    config.build(spec, **options)
  line = str(error.value)
  assert '\n' not in line
  assert error.value.exit_code == 2
  return line


def test_type_is_the_object():
  spec = dict(type='processes.VP', beta_max=10.0)
  assert config.build(spec) == processes.VP(beta_max=10.0)


def test_specs_nest():
  spec = dict(
    type='sampling.FixedGrid',
    solver=dict(
      type='sampling.PredictorCorrector',
      predictor=dict(type='sampling.DDIM', eta=1.0),
      corrector=dict(type='sampling.Langevin', snr=0.1),
    ),
    grid=dict(type='sampling.Karras', steps=18),
  )
  assert config.build(spec) == sampling.FixedGrid(
    solver=sampling.PredictorCorrector(
      predictor=sampling.DDIM(eta=1.0), corrector=sampling.Langevin(snr=0.1)
    ),
    grid=sampling.Karras(steps=18),
  )


def test_config_dicts_are_specs():
  spec = config_dict.ConfigDict(dict(type='processes.Shifted', factor=2.0))
  spec.process = FLOW
  built = config.build(spec)
  assert built.process == processes.RectifiedFlow()


def test_plain_data_stay_plain():
  spec = dict(a=1, b=[1, [2, 'x']], c=None, d=dict(e=True))
  assert config.build(spec) == {**spec, 'b': (1, (2, 'x'))}


def test_ref_is_the_object_itself():
  assert config.build(dict(ref='flax.linen.silu')) is flax.linen.silu
  assert config.build(dict(ref='objectives.half_sum')) is objectives.half_sum
  assert 'takes no arguments' in refused(dict(ref='flax.linen.silu', x=1))


def test_partial_is_a_factory():
  factory = config.build(dict(partial='processes.VP', beta_max=7.0))
  assert factory() == processes.VP(beta_max=7.0)
  assert factory(beta_min=0.5) == processes.VP(beta_min=0.5, beta_max=7.0)
  assert factory(beta_max=3.0) == processes.VP(beta_max=3.0)


def test_partial_may_leave_arguments_open():
  factory = config.build(dict(partial='processes.Shifted', factor=2.0))
  assert factory(process=processes.VP()).factor == 2.0


def test_partials_are_values():
  one = config.build(dict(partial='processes.VP', beta_min=0.2, beta_max=7.0))
  two = config.build(dict(beta_max=7.0, partial='processes.VP', beta_min=0.2))
  other = config.build(dict(partial='processes.VP', beta_max=7.1))
  assert one == two
  assert hash(one) == hash(two)
  assert one != other
  assert len({one, two, other}) == 2


def test_partials_of_nested_specs_are_values():
  spec = dict(partial='processes.Shifted', process=FLOW)
  assert config.build(spec) == config.build(spec)
  assert hash(config.build(spec)) == hash(config.build(spec))


def test_order_makes_a_tuple():
  spec = dict(
    crop=dict(type='data.RandomCrop', pad=4),
    flip=dict(type='data.Flip'),
    order=['flip', 'crop'],
  )
  flip, crop = config.build(spec)
  assert type(flip) is data.Flip
  assert crop == data.RandomCrop(pad=4)


def test_order_of_parts_that_are_not_there():
  line = refused(dict(flip=FLOW, order=('flip', 'crop')), path='config.augment')
  assert "config.augment.order names 'crop'" in line


@pytest.mark.parametrize(
  ('spec', 'words'),
  [
    (
      dict(type='processes.VP', beta_mx=1.0),
      ['config.beta_mx', 'no such key', "did you mean 'beta_max'?"],
    ),
    (
      dict(type='processes.VP', wavelength=1.0),
      ['config.wavelength', 'no such key', 'beta_min', 'beta_max'],
    ),
    (
      dict(type='processes.VP', beta_max='20'),
      ['config.beta_max', 'must be float', "'20'"],
    ),
    (
      dict(type='sampling.Karras', steps=18.5),
      ['config.steps', 'must be int', '18.5'],
    ),
    (
      dict(type='sampling.Karras', steps=True),
      ['config.steps', 'must be int', 'True'],
    ),
    (
      dict(type='sampling.Karras', steps=18, sigma_min='low'),
      ['config.sigma_min', 'float | None', "'low'"],
    ),
    (dict(type='processes.Shifted', factor=2.0), ['config.process is missing']),
    (
      dict(type='processes.Vp'),
      ['config.type', "there is no 'processes.Vp'", "did you mean 'VP'?"],
    ),
    (
      dict(type='processes.Wiener'),
      ['config.type', "there is no 'processes.Wiener'", 'RectifiedFlow'],
    ),
    (dict(type='nowhere.Thing'), ['config.type', "no 'nowhere.Thing'"]),
    (dict(type='optax.no_such'), ['config.type', "no 'optax.no_such'"]),
    (dict(type=3), ['config.type', 'must be a name', '3']),
    (
      dict(type='processes.VP', partial='processes.VP'),
      ['config has both', 'keep one'],
    ),
    (
      dict(type='processes.VP', t_min=2.0),
      ['config (processes.VP)', '0 < t_min < t_max'],
    ),
    (
      dict(type='processes.LinearBetas', levels=0),
      ['config (processes.LinearBetas)', 'levels must be at least 2'],
    ),
  ],
)
def test_mistakes_are_one_line(spec, words):
  line = refused(spec)
  for word in words:
    assert word in line


def test_mistakes_are_named_by_their_place():
  spec = dict(
    objective=dict(
      parts=[FLOW, dict(type='processes.Shifted', factor=1.0, process=dict(
        type='processes.VP', beta_mim=0.1,
      ))],
    ),
  )  # fmt: skip
  line = refused(spec)
  assert line.startswith('config.objective.parts.1.process.beta_mim')
  assert "did you mean 'beta_min'?" in line


def test_int_is_a_float_and_none_an_option():
  assert config.build(dict(type='processes.VP', beta_max=20)).beta_max == 20
  grid = dict(type='sampling.Karras', steps=18, sigma_min=None, sigma_max=5)
  assert config.build(grid).sigma_min is None


def test_foreign_objects_by_their_name():
  rule = config.build(dict(type='optax.scale_by_adam', b1=0.8))
  assert isinstance(rule, optax.GradientTransformation)
  assert "config.bb1: no such key; did you mean 'b1'?" in refused(
    dict(type='optax.scale_by_adam', bb1=0.8)
  )


@pytest.mark.parametrize(
  'name',
  [
    'os.system',
    'builtins.eval',
    'builtins.exec',
    'subprocess.run',
    'difjax.config.save',
    'difjax.data.shards.os.system',
    'optax.tree_utils.jax.os.system',
    'jax.nn.initializers.os',
    'numpy.load',
    'pickle.loads',
  ],
)
@pytest.mark.parametrize('key', ['type', 'partial', 'ref'])
def test_strangers_name_nothing_foreign(key, name):
  line = refused({key: name}, trusted=False)
  assert name in line
  assert 'may not be used by a saved config' in line
  assert f'--trust={name.partition(".")[0]}' in line


@pytest.mark.parametrize(
  'name',
  [
    'data.shards.os.system',
    'data.source.functools',
    'data.source.InMemory',
    'data.os',
    'processes.base.jax',
    'processes.vp.VP',
    'config.build',
    'errors.DifjaxError',
    'pytree.hashlib',
    'processes.__builtins__',
    'processes.__all__',
    'processes.',
    'processes',
    '.processes.VP',
    '',
  ],
)
@pytest.mark.parametrize('trusted', [True, False])
def test_only_exports_are_ours(name, trusted):
  refused(dict(type=name), trusted=trusted)


def test_strangers_may_use_ours_and_the_listed():
  spec = dict(
    process=dict(type='processes.VP', beta_max=5.0),
    act=dict(ref='jax.nn.silu'),
    rule=dict(partial='optax.scale_by_adam', b1=0.5),
  )
  built = config.build(spec, trusted=False)
  assert built['process'] == processes.VP(beta_max=5.0)


def test_everything_listed_exists():
  for name in config.FOREIGN:
    config.resolve(name, trusted=False)


def test_a_mistrusted_name_is_not_imported(tmp_path, monkeypatch):
  lab(tmp_path, monkeypatch, 'lab_untrusted', 'raise SystemExit("imported")')
  refused(dict(type='lab_untrusted.Thing'), trusted=False)
  refused(dict(type='lab_untrusted.Thing'), trusted=False, trust=('lab',))


def lab(tmp_path, monkeypatch, name, source):
  (tmp_path / f'{name}.py').write_text(source)
  monkeypatch.syspath_prepend(tmp_path)


SOURCE = '''
from difjax import processes

class Cubic(processes.VP):
  pass
'''


def test_a_trusted_lab_package_is_used(tmp_path, monkeypatch):
  lab(tmp_path, monkeypatch, 'lab_trusted', SOURCE)
  spec = dict(type='processes.Shifted', factor=2.0, process=dict(
    type='lab_trusted.Cubic', beta_max=3.0,
  ))  # fmt: skip
  line = refused(spec, trusted=False)
  assert line.startswith("config.process.type: 'lab_trusted.Cubic'")
  assert '--trust=lab_trusted' in line
  built = config.build(spec, trusted=False, trust=('lab_trusted',))
  assert type(built.process).__name__ == 'Cubic'
  assert config.build(spec) == built


def test_a_module_that_fails_says_so(tmp_path, monkeypatch):
  lab(tmp_path, monkeypatch, 'lab_broken', 'import no_such_package_at_all')
  line = refused(dict(type='lab_broken.Thing'))
  assert 'no_such_package_at_all' in line


def test_save_and_load(tmp_path):
  file = tmp_path / 'config.json'
  spec = config_dict.ConfigDict(dict(objective=FLOW, steps=3, rates=(0.1, 0.2)))
  config.save(spec, file)
  loaded = config.load(file)
  assert loaded == dict(objective=FLOW, steps=3, rates=[0.1, 0.2])
  assert config.differences(loaded, spec.to_dict()) == []
  assert json.loads(file.read_text()) == loaded


@pytest.mark.parametrize(
  ('content', 'words'),
  [
    (None, ['is not there', 'work directory']),
    ('{"a": ', ['cannot be read']),
    ('[1, 2]', ['holds no config']),
    ('\x00\xff', ['cannot be read']),
  ],
)
def test_files_that_are_no_config(tmp_path, content, words):
  file = tmp_path / 'config.json'
  if content is not None:
    file.write_bytes(content.encode('latin1'))
  with pytest.raises(errors.ConfigError) as error:
    config.load(file)
  assert '\n' not in str(error.value)
  for word in (str(file), *words):
    assert word in str(error.value)


def test_differences():
  old = dict(a=1, b=dict(c=[1, 2], d='x'), gone=3)
  new = dict(a=1, b=dict(c=(1, 2), d='y'), come=None)
  assert config.differences(old, new) == [
    "config.b.d: 'x' -> 'y'",
    "config.come: '(absent)' -> None",
    "config.gone: 3 -> '(absent)'",
  ]
  assert config.differences(old, old) == []
  assert config.differences(dict(a=dict(b=1)), dict(a=2)) == [
    "config.a: {'b': 1} -> 2"
  ]


def test_differences_of_sequences_within_sequences():
  # JSON turns tuples into lists at every depth.
  assert config.differences(dict(a=((1, 2), 3)), dict(a=[[1, 2], 3])) == []


def test_parts_without_a_type_are_refused_where_an_object_is_wanted():
  spec = {'type': 'training.Trainer', 'mesh': {'fsdp': 2}}
  whole = {'objective': None, 'data': None, 'steps': 1}
  with pytest.raises(errors.ConfigError, match=r'config\.mesh must be Mesh'):
    config.build({**spec, **whole})


@pytest.mark.parametrize(('spec', 'words'), [
  (
    dict(type='sampling.FixedGrid', grid=dict(type='sampling.Karras', steps=4),
         solver=dict(type='sampling.Karras', steps=4)),
    ['config.solver must be a Solver', 'Karras has no', 'step'],
  ),
  (
    dict(type='evaluation.ClassifierFree', rule='cfgpp'),
    ['config.rule must be a Rule', 'cfgpp has no __call__'],
  ),
  (
    dict(type='evaluation.Threshold', bound='Clip'),
    ['config.bound must be', 'Callable', "'Clip'"],
  ),
  (
    dict(type='sampling.Restart', solver=dict(type='sampling.Heun'),
         grid=dict(type='sampling.Karras', steps=4),
         intervals=dict(a=dict(type='sampling.Interval', low=0.1, high=1.0,
                               times=3))),
    ['config.intervals needs an order', "order=('a',)"],
  ),
  (
    dict(type='sampling.Restart', solver=dict(type='sampling.Heun'),
         grid=dict(type='sampling.Karras', steps=4), intervals={}),
    ['config.intervals must be', 'not {}'],
  ),
])  # fmt: skip
def test_parts_in_the_wrong_place_are_one_line(spec, words):
  line = refused(spec)
  assert all(word in line for word in words), line


def test_parts_are_checked_without_reading_data():
  spec = dict(
    type='data.Pipeline', batch_size=2,
    source=dict(type='data.CifarArchive', path='nowhere', split='train'),
  )  # fmt: skip
  assert config.build(spec).batch_size == 2
