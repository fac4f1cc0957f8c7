"""The table of plans: a row a slice that a config names, and that it fits."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from difjax import config
from difjax.cli import arguments
from difjax.evaluation import plan_page, planned
from difjax.training import topology

ROOT = pathlib.Path(__file__).parents[2]
TABLE = ROOT / 'configs' / 'plans.json'
ROWS = json.loads(TABLE.read_text())
FULL = 0.95  # of a device's memory, at most
LONG = 300.0  # seconds
QUICKEST = 2


def spec(name):
  return arguments.config_file(str(ROOT / f'configs/{name}.py')).to_dict()


def meant():
  """Yields (config, slice) for every slice that a config names."""
  for path in sorted((ROOT / 'configs').rglob('*.py')):
    if 'evaluation.Slices' in path.read_text():
      name = str(path.relative_to(ROOT / 'configs').with_suffix(''))
      for place in spec(name)['plan']['names']:
        yield name, topology.parse(place)


@pytest.mark.parametrize(('name', 'place'), list(meant()), ids=str)
def test_every_slice_that_a_config_names_has_been_compiled_for(name, place):
  row = ROWS.get(f'{name} {place.name} training')
  again = (
    f'run: difjax plan --config=configs/{name}.py --topology={place.name} '
    '--record=configs/plans.json'
  )
  assert row, again
  assert row['digest'] == planned.digest(spec(name)), again


@pytest.mark.parametrize('row', ROWS.values(), ids=list(ROWS))
def test_a_step_that_compiles_for_long_says_why(row):
  assert row['note'] == spec(row['config'])['plan'].get('note', '')
  assert row['note'] or row['compile_work'] < LONG


@pytest.mark.parametrize('row', ROWS.values(), ids=list(ROWS))
def test_it_fits_and_its_figures_agree(row):
  place = topology.parse(row['slice'])
  assert row['memory_there'] == place.chip.memory
  assert row['memory_needed'] < FULL * row['memory_there']
  assert row['memory_needed'] == sum(row['memory'].values())
  assert row['state_bytes'] <= row['memory']['arguments']
  assert row['chips'] == place.devices
  shares = row['mesh']
  assert shares['data'] * shares['fsdp'] * shares['tensor'] == place.devices
  peak = place.devices * place.chip.flops
  assert row['seconds']['compute'] == pytest.approx(row['flops'] / peak, 1e-3)
  assert row['step_seconds'] == max(row['seconds'].values())
  assert row['versions']['libtpu']
  assert len(row['program']) == 64
  name = row['config']
  header = (ROOT / f'configs/{name}.py').read_text()
  assert f'{row["parameters"]:,}' in header


def line(row):
  """A row of the table in configs/README.md."""
  name, size = row['config'], plan_page.size
  place = topology.parse(row['slice'])
  people = next(
    text
    for text in spec(name)['plan']['names']
    if topology.parse(text) == place
  )
  config = f', {place.chip.config}' if place.chip.config else ''
  axes = ' x '.join(f'{axis} {n}' for axis, n in row['mesh'].items() if n > 1)
  ratio = row['sent_bytes'] / row['least_bytes']
  cells = (
    f'{name}, {row["step"]}, batch {row["batch"]:,}',
    f'{people}: `{place.name}`{config}, {row["chips"]} devices, {axes}',
    f'{row["parameters"]:,}',
    size(row['state_bytes']),
    f'{size(row["memory_needed"])} of {size(row["memory_there"])}',
    f'{size(row["sent_bytes"])}, {ratio:.2f}',
    f'{1e3 * row["step_seconds"]:.3g} ms, {row["mfu"]:.0%}',
    f'{row["compile_seconds"]:.0f} s, {row["compile_work"]:.0f} s',
  )
  return f'| {" | ".join(cells)} |'


def test_the_table_of_plans_is_shown():
  text = (ROOT / 'configs' / 'README.md').read_text()
  table = '\n'.join([8 * '|---' + '|', *map(line, ROWS.values())])
  assert table in text, f'in configs/README.md:\n{table}'
  words = ' '.join(text.split())
  for row in ROWS.values():
    assert row['note'] in words


def test_dit_xl2_sends_little_more_than_it_must():
  row = ROWS['imagenet/dit_xl2 v5e:16x16 training']
  assert row['sent_bytes'] <= 1.2 * row['least_bytes']
  # Blocks alone: 28 (18 x 1152^2 weights), gathered twice and scattered once
  # in two bytes.
  assert row['least_bytes'] > 6 * 28 * 18 * 1152**2
  kinds = {t['kind'] for t in row['collectives'] if t['bytes'] > 2**27}
  assert kinds == {'all-gather', 'reduce-scatter'}
  # 16 bytes a parameter, over 16.
  assert row['state_bytes'] > row['parameters']
  assert row['replicated_bytes'] < 0.1 * row['state_bytes']


def test_the_table_is_written_row_by_row(tmp_path):
  import dataclasses

  @dataclasses.dataclass
  class Found:
    slice: str = 'v5e:2x4'
    step: str = 'training'
    seconds: float = 0.123456789

    def record(self):
      return dataclasses.asdict(self)

  path = tmp_path / 'plans.json'
  one = {'steps': 1, 'seed': 0, 'plan': {'note': 'slow'}}
  planned.record(path, 'a/b', one, Found(seconds=9.0))
  planned.record(path, 'a/b', one, Found())
  planned.record(path, 'a/a', one, Found())
  table = json.loads(path.read_text())
  assert list(table) == ['a/a v5e:2x4 training', 'a/b v5e:2x4 training']
  row = table['a/b v5e:2x4 training']
  assert row['seconds'] == 0.1235
  assert row['note'] == 'slow'
  assert row['digest'] == planned.digest({**one, 'steps': 2, 'plan': {}})
  assert row['digest'] != planned.digest({**one, 'seed': 1})


def test_random_data_stand_in_for_what_is_not_at_hand():
  data = {'type': 'data.Pipeline', 'batch_size': 8, 'source': {'type': '?'}}
  shown = {'names': ('v5e-8',), 'image': (4, 6, 3), 'classes': 5}
  changed = planned.stand_in({'data': data, 'plan': shown})['data']
  source = config.build(changed, path='data').source
  assert source.shape == (4, 6, 3)
  assert source.num_classes == 5
  assert planned.stand_in({'data': data}) == {'data': data}


@pytest.mark.slow
@pytest.mark.skipif(
  not importlib.util.find_spec('libtpu'), reason='pip install difjax[plan]'
)
@pytest.mark.parametrize(
  'row',
  sorted(ROWS.values(), key=lambda row: row['compile_seconds'])[:QUICKEST],
  ids=lambda row: f'{row["config"]} {row["slice"]}',
)
def test_the_quickest_compile_to_what_the_table_says(row, tmp_path):
  path = tmp_path / 'plan.json'
  command = [
    'timeout', '-k', '10', '1500', sys.executable, '-m', 'difjax', 'plan',
    f'--config=configs/{row["config"]}.py', f'--topology={row["slice"]}',
    f'--json={path}',
  ]  # fmt: skip
  kept = {k: v for k, v in os.environ.items() if not k.startswith('JAX_')}
  subprocess.run(command, cwd=ROOT, env=kept, check=True)
  found = json.loads(path.read_text())
  if found['versions'] == row['versions']:
    assert found['program'] == row['program']
  for key in ('parameters', 'state_bytes', 'flops'):
    assert found[key] == row[key]
  assert found['memory_needed'] == pytest.approx(row['memory_needed'], rel=0.1)
  assert found['sent_bytes'] == pytest.approx(row['sent_bytes'], rel=0.1)
