"""Flags: typed overrides, errors of one line, config files."""

from __future__ import annotations

import pytest
from absl import flags
from ml_collections import config_dict

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments


def define(values):
  flags.DEFINE_integer('num', 3, '', lower_bound=1, flag_values=values)


def parse(*argv):
  config = config_dict.ConfigDict({'a': {'rate': 0.5, 'n': 2, 'on': False}})
  return arguments.parse(list(argv), define, 'about', {'config': config})


def test_defaults():
  values = parse()
  assert values.num == 3
  assert values.config.a.to_dict() == {'rate': 0.5, 'n': 2, 'on': False}


def test_overrides_keep_the_type_of_what_they_replace():
  values = parse(
    '--num=7', '--config.a.rate=2', '--config.a.n=5', '--config.a.on=true'
  )
  assert values.num == 7
  found = values.config.a
  assert (found.rate, found.n, found.on) == (2.0, 5, True)
  assert isinstance(found.rate, float)


def test_two_calls_share_nothing():
  parse('--num=7', '--config.a.n=9')
  assert parse().num == 3
  assert parse().config.a.n == 2


def test_a_new_argument_of_a_part_may_be_given():
  assert parse('--config.a.depth=4').config.a.depth == 4


@pytest.mark.parametrize(
  ('flag', 'named'),
  [
    ('--nmu=3', 'nmu'),
    ('--num=0', 'num'),
    ('--num=three', 'num'),
    ('--config.a.n=two', 'two'),
    ('--config.a.n.m=2', 'n'),
    ('stray', 'stray'),
  ],
)
def test_errors_are_one_line_that_names_the_flag(flag, named):
  with pytest.raises(errors.ConfigError, match=named) as caught:
    parse(flag)
  assert '\n' not in str(caught.value)


def test_help_prints_and_leaves(capsys):
  with pytest.raises(SystemExit) as stop:
    parse('--num=7', '--help')
  assert stop.value.code == 0
  assert capsys.readouterr().out == 'about\n'


@pytest.mark.parametrize(
  ('argv', 'value', 'rest'),
  [
    (['--x=1', '--workdir=d', 'y'], 'd', ['--x=1', 'y']),
    (['--workdir', 'd', '--x=1'], 'd', ['--x=1']),
    (['--workdirs=d'], None, ['--workdirs=d']),
    (['--workdir=a=b'], 'a=b', []),
    (['--workdir.a=b'], None, ['--workdir.a=b']),
  ],
)
def test_take(argv, value, rest):
  assert arguments.take(argv, 'workdir') == (value, rest)


def write(folder, text):
  file = folder / 'experiment.py'
  file.write_text(text)
  return str(file)


HEAD = 'from ml_collections import config_dict\n'


def test_a_config_file(tmp_path):
  file = write(
    tmp_path, HEAD + 'def get_config():\n'
    '  return config_dict.ConfigDict(dict(steps=3))\n'
  )  # fmt: skip
  assert arguments.config_file(file).steps == 3


def test_a_config_file_may_import_what_lies_beside_configs(tmp_path):
  (tmp_path / 'mylab_parts.py').write_text('STEPS = 5\n')
  (tmp_path / 'configs').mkdir()
  file = write(
    tmp_path / 'configs', HEAD + 'import mylab_parts\ndef get_config():\n'
    '  return config_dict.ConfigDict(dict(steps=mylab_parts.STEPS))\n'
  )  # fmt: skip
  assert arguments.config_file(file).steps == 5


def test_a_config_file_may_define_dataclasses(tmp_path):
  file = write(
    tmp_path, 'from __future__ import annotations\nimport dataclasses\n'
    + HEAD + '@dataclasses.dataclass\nclass Size:\n  n: int = 4\n'
    'def get_config():\n'
    '  return config_dict.ConfigDict(dict(steps=Size().n))\n'
  )  # fmt: skip
  assert arguments.config_file(file).steps == 4


@pytest.mark.parametrize(
  ('text', 'named'),
  [
    ('def get_config(:\n', 'SyntaxError'),
    ('import nowhere_at_all\n', 'nowhere_at_all'),
    ('def get_config():\n  raise ValueError("of mine")\n', 'of mine'),
    ('x = 1\n', 'get_config'),
    ('def get_config():\n  return None\n', 'ConfigDict'),
    ('def get_config():\n  return dict(steps=3)\n', 'ConfigDict'),
  ],
)
def test_a_config_file_that_fails_is_named(text, named, tmp_path):
  file = write(tmp_path, text)
  with pytest.raises(errors.ConfigError, match=named) as caught:
    arguments.config_file(file)
  assert file in str(caught.value)


@pytest.mark.parametrize('name', ['nowhere.py', '.'])
def test_a_config_file_that_is_not_there(name):
  with pytest.raises(errors.ConfigError, match='is not there'):
    arguments.config_file(name)


def test_an_override_reaches_a_part_that_the_config_leaves_out():
  spec = config_dict.ConfigDict({'steps': 1})
  argv = ['--config.mesh.type=training.Mesh', '--config.mesh.fsdp=8']
  values = arguments.parse(argv, lambda v: None, '', {'config': spec})
  assert values.config.mesh.to_dict() == {'type': 'training.Mesh', 'fsdp': 8}


def test_the_flags_of_a_run(tmp_path):
  (tmp_path / 'config.json').write_text('{"sampler": {"steps": 4, "eta": 0.5}}')
  argv = [
    '--sampler.steps=9', '--guide.scale=2', f'--workdir={tmp_path}', '--num=5'
  ]
  folder, values = arguments.of_run(
    argv, define, 'about', 'sampler', 'guide', 'other'
  )
  assert folder == tmp_path
  assert values.num == 5
  assert values.sampler.to_dict() == {'steps': 9, 'eta': 0.5}
  assert arguments.given(values, {'guide': 'a.B', 'other': 'a.C'}) == {
    'guide': {'type': 'a.B', 'scale': 2}
  }
  assert arguments.of_run([], define, 'about', 'sampler')[0] is None


def test_whole_numbers():
  assert arguments.integers('labels', ['3', '-1']) == [3, -1]
  with pytest.raises(errors.ConfigError, match=r'--labels=3,b: give whole'):
    arguments.integers('labels', ['3', 'b'])


def test_a_new_folder(tmp_path):
  assert arguments.new_folder('out', f'{tmp_path}/new') == tmp_path / 'new'
  assert arguments.new_folder('out', str(tmp_path)) == tmp_path
  (tmp_path / 'file').touch()
  with pytest.raises(errors.ConfigError, match='use another --out'):
    arguments.new_folder('out', str(tmp_path))


PARTS = {
  'sampler': {
    'type': 'sampling.AdaptiveODE', 'rtol': 1e-3, 'atol': 1e-3,
    'denoise': False,
  },
  'process': {'type': 'processes.VP', 'beta_max': 15.0},
}  # fmt: skip


def replaced(*argv):
  spec = config_dict.ConfigDict(PARTS)
  return arguments.parse(
    list(argv), lambda v: None, '', {'config': spec}
  ).config.to_dict()


def test_another_type_leaves_what_it_does_not_have(capsys):
  found = replaced(
    '--config.sampler.type=sampling.FixedGrid',
    '--config.sampler.grid.type=sampling.Karras',
  )
  assert found['sampler'] == {
    'type': 'sampling.FixedGrid', 'denoise': False,
    'grid': {'type': 'sampling.Karras'},
  }  # fmt: skip
  assert found['process'] == PARTS['process']
  assert capsys.readouterr().err == (
    'config.sampler: sampling.FixedGrid has no atol, rtol; dropped\n'
  )


def test_another_type_keeps_what_it_has_too(capsys):
  found = replaced('--config.process.type=processes.SubVP')
  assert found['process'] == {'type': 'processes.SubVP', 'beta_max': 15.0}
  assert capsys.readouterr().err == ''


@pytest.mark.parametrize(
  'argv',
  [
    ('--config.sampler.type=sampling.FixedGrid', '--config.sampler.rtol=0.1'),
    ('--config.sampler.rtol=0.1', '--config.sampler.type=sampling.FixedGrid'),
  ],
)
def test_what_is_given_stays_right_or_wrong(argv):
  found = replaced(*argv)['sampler']
  assert set(found) == {'type', 'denoise', 'rtol'}
  with pytest.raises(errors.ConfigError, match=r'sampler.rtol: no such key'):
    configs.build(found, path='sampler')


def test_the_same_type_and_foreign_ones_leave_all():
  for name in ('sampling.AdaptiveODE', 'mylab.Sampler'):
    found = replaced(f'--config.sampler.type={name}')['sampler']
    assert found == {**PARTS['sampler'], 'type': name}


def test_a_part_as_a_whole_may_be_replaced(capsys):
  spec = config_dict.ConfigDict(PARTS['sampler'])
  values = arguments.parse(
    ['--sampler.type=sampling.FixedGrid'], lambda v: None, '',
    {'sampler': spec},
  )  # fmt: skip
  assert values.sampler.to_dict() == {
    'type': 'sampling.FixedGrid', 'denoise': False
  }


def test_a_new_part_comes_last_in_an_order():
  spec = config_dict.ConfigDict({'hooks': {'a': {'n': 1}, 'order': ('a',)}})
  argv = ['--config.hooks.b.n=2', '--config.hooks.b.m=3']
  values = arguments.parse(argv, lambda v: None, '', {'config': spec})
  assert values.config.hooks.order == ('a', 'b')
  assert values.config.hooks.b.to_dict() == {'n': 2, 'm': 3}
