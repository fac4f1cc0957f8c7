"""All benchmarks in one go: kept as they come, gone on with, as a table."""

from __future__ import annotations

import json
import subprocess

import jax
import pytest

from difjax import config, environment, errors, pytree
from difjax.cli import arguments
from difjax.evaluation import suite, timings
from difjax.training import trainer as trainers
from tests import tiny

ABOUT = {
  'machine': 'Python 3.11 on Linux x86_64, 2 cores', 'processor': 'A Chip',
  'commit': '0123456789abcdef', 'description': 'd',
  'versions': {'jax': '0.10.2', 'flax': '0.12.8', 'torch': None},
}  # fmt: skip


class Known(timings.Benchmark):
  """Finds what is known."""

  def measure(self, rounds):
    """Returns as many seconds as there are rounds."""
    return [timings.Figure(
      name='a thing', unit='s', ours=[2.0] * rounds, beside='theirs',
      theirs=[3.0] * rounds,
    )]  # fmt: skip


class Broken(timings.Benchmark):
  """Fails."""

  def measure(self, rounds):
    """Raises."""
    raise MemoryError('\n no room\nfor a tensor')


class Elsewhere(timings.Benchmark):
  """Is for another machine."""

  def unsuited(self):
    """Says so."""
    return 'needs gpu, and this is a cpu'


PARTS = {'known': Known(), 'broken': Broken(), 'elsewhere': Elsewhere()}


class Machine:
  """Measures, and notes what."""

  def __init__(self, stop=None):
    self.seen, self.stop = [], stop

  def __call__(self, name):
    """Measures, or is stopped."""
    if name == self.stop:
      raise KeyboardInterrupt
    self.seen.append(name)
    return suite.measure(PARTS[name], 3)


def run(tmp_path, machine, told=None, about=ABOUT):
  told = [] if told is None else told
  return suite.run(list(PARTS), machine, about, tmp_path / 'out', told.append)


def read(tmp_path):
  return json.loads((tmp_path / 'out' / 'bench.json').read_text())


def test_one_that_fails_costs_no_other(tmp_path):
  told = []
  found = run(tmp_path, Machine(), told)
  assert told == [
    '[1/3] known', '  a thing: 2.00 s; theirs: 3.00 s; x 1.50 (1.50 to 1.50)',
    '[2/3] broken', '  failed: MemoryError: no room',
    '[3/3] elsewhere', '  skipped: needs gpu, and this is a cpu',
  ]  # fmt: skip
  assert found == read(tmp_path)
  assert set(found) == {'about', 'parts'}
  known = found['parts']['known']
  assert set(known) == {'figures', 'devices', 'date', 'seconds'}
  (figure,) = known['figures']
  assert set(figure) == {
    'name', 'unit', 'note', 'ours', 'beside', 'theirs', 'ratio'
  }  # fmt: skip
  assert figure['ratio'] == {
    'median': 1.5, 'range': [1.5, 1.5], 'rounds': [1.5] * 3
  }  # fmt: skip
  assert 'cpu' in known['devices']


def test_what_is_there_is_not_measured_again(tmp_path):
  stopped = Machine(stop='broken')
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, stopped)
  assert set(read(tmp_path)['parts']) == {'known'}
  assert 'a thing' in (tmp_path / 'out' / 'bench.md').read_text()
  first, second = Machine(), Machine()
  found = run(tmp_path, first)
  assert first.seen == ['broken', 'elsewhere']
  assert list(found['parts']) == list(PARTS)
  run(tmp_path, second)  # what failed or was not for this machine, once more
  assert second.seen == ['broken', 'elsewhere']


@pytest.mark.parametrize(
  ('key', 'value'), [('commit', 'fedcba'), ('description', 'other')]
)
def test_figures_of_something_else_are_not_mixed(key, value, tmp_path):
  run(tmp_path, Machine())
  before = read(tmp_path)
  with pytest.raises(errors.ConfigError, match=rf'about\.{key}.*another --out'):
    run(tmp_path, Machine(), about={**ABOUT, key: value})
  assert read(tmp_path) == before


def test_figures_of_another_kind_are_refused_in_a_line(tmp_path):
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'bench.json').write_text('{"loop": {"ratio": 1.0}}')
  with pytest.raises(errors.ConfigError, match=r'\(about differ\): use'):
    run(tmp_path, Machine())


SHIPPED = arguments.config_file(
  str(tiny.ROOT / 'configs' / 'benchmarks.py')
).to_dict()['parts']

FAR = ('dit_xl2', 'dit_xl2_cudnn', 'ddpmpp', 'attention')  # not for CPUs


@pytest.mark.parametrize('name', SHIPPED['order'])
def test_shipped_benchmarks_are_well_described(name):
  built = config.build(SHIPPED[name], path=f'config.parts.{name}')
  assert (built.unsuited() is None) == (name not in FAR)


def test_what_is_for_accelerators_can_be_traced():
  made = config.build(SHIPPED['dit_xl2'], path='config.parts.dit_xl2')
  place = trainers.build_mesh(made.trainer)
  step, abstract = trainers.compiled(made.trainer, place)
  batch = trainers.abstract_batch(made.trainer, place)
  following, _ = jax.eval_shape(step, abstract, batch)
  assert pytree.count(following.params) == 674_834_720


def test_the_table_says_where_and_when(tmp_path):
  found = run(tmp_path, Machine())
  date = found['parts']['known']['date']
  devices = found['parts']['known']['devices']
  head, blank, *rows = suite.table(found).splitlines()
  assert head == (
    f'{devices}; Python 3.11 on Linux x86_64, 2 cores; A Chip; jax 0.10.2, '
    f'flax 0.12.8; commit 0123456789ab; {date}.'
  )
  assert blank == ''
  assert rows == [
    *timings.HEAD,
    '| a thing | 2.00 s | theirs: 3.00 s | 1.50 (1.50 to 1.50) |',
  ]


def test_of_no_figures_there_is_a_table_all_the_same():
  about = {**ABOUT, 'processor': None, 'commit': None}
  parts = {'broken': {'failed': 'MemoryError'}}
  head, *rest = suite.table({'about': about, 'parts': parts}).splitlines()
  assert head == (
    'Python 3.11 on Linux x86_64, 2 cores; jax 0.10.2, flax 0.12.8.'
  )
  assert rest == ['', *timings.HEAD]


def test_a_readme_takes_the_table_between_its_marks(tmp_path):
  readme = tmp_path / 'README.md'
  old = ('# A title', suite.MARKS[0], 'an old table', suite.MARKS[1], 'end')
  readme.write_text('\n'.join(old))
  for made in ('| one |\n', '| two |\n'):
    suite.insert(readme, made)
    assert readme.read_text() == (
      f'# A title\n{suite.MARKS[0]}\n\n{made}\n{suite.MARKS[1]}\nend'
    )
  readme.write_text(suite.MARKS[1] + suite.MARKS[0])
  with pytest.raises(errors.ConfigError, match='has no lines'):
    suite.insert(readme, made)


def test_what_figures_depend_on():
  one, same, other = (suite.about({'rounds': n}) for n in (1, 1, 2))
  assert one == same
  assert {key for key in one if one[key] != other[key]} == {'description'}
  assert {'machine', 'processor', 'commit', 'versions'} < {*one}
  assert one['versions']['jax']


def test_figures_depend_on_code_and_not_on_documents(tmp_path, monkeypatch):
  """So the table that the first start puts into the README stops no second."""
  git = lambda *rest: subprocess.run(
    ('git', '-C', tmp_path, '-c', 'user.name=a', '-c', 'user.email=b', *rest),
    check=True,
  )  # fmt: skip
  readme, code = tmp_path / 'README.md', tmp_path / 'difjax' / 'environment.py'
  code.parent.mkdir()
  for file in (readme, code):
    file.write_text('before\n')
  git('init', '-q')
  git('add', '.')
  git('commit', '-q', '-m', 'all', '--no-verify')
  monkeypatch.setattr(environment, '__file__', str(code))
  commit = lambda: suite.about({})['commit']
  clean = commit()
  assert len(clean) == 40
  readme.write_text('after\n')
  assert commit() == clean
  code.write_text('after\n')
  assert commit() == f'{clean}-dirty'


def test_the_table_says_that_files_differ_from_the_commit():
  about = {**ABOUT, 'commit': f'{ABOUT["commit"]}-dirty'}
  head = suite.table({'about': about, 'parts': {}}).splitlines()[0]
  assert head.endswith('commit 0123456789ab-dirty.')


@pytest.mark.parametrize('name', ['torch', 'diffusers', 'pytorch-fid'])
def test_versions_of_peers_are_told(name):
  assert name in suite.about({})['versions']
  about = {**ABOUT, 'versions': {name: '1.2'}}
  assert f'; {name} 1.2; ' in suite.table({'about': about, 'parts': {}})
