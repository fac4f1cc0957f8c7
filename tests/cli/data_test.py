import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from difjax import errors
from difjax.cli import data
from difjax.data import tfds
from tests.data import tars


def test_prepare_writes_a_data_set(tmp_path, capsys):
  for name in ('a/0.png', 'b/1.png', 'b/2.png'):
    path = tmp_path / 'My Pictures' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (4, 4)).save(path)
  source, out = tmp_path / 'My Pictures', tmp_path / 'out'
  assert data.main(['prepare', f'--source={source}', f'--out={out}']) == 0
  assert '3 images, 2 classes' in capsys.readouterr().out
  found = tfds.Tfds(name='my_pictures', data_dir=str(out))
  assert found.take(np.arange(3))['label'].tolist() == [0, 1, 1]


def test_failures_are_left_to_the_dispatcher(tmp_path):
  with pytest.raises(errors.DataError, match=r'no \*tfrecord\* files'):
    data.main(['index', str(tmp_path)])


def test_index_of_tars_says_what_is_wrong(tmp_path, capsys):
  folder = tmp_path / 'tars'
  tars.write(folder / '0.tar', tars.samples(3))
  bad = tars.samples(3, first=3)
  bad['4.png'] = b'no image'
  tars.write(folder / '1.tar', {**bad, '9.txt': b'alone'})
  assert data.main(['index', str(folder)]) == 0
  out = capsys.readouterr().out
  assert '6 samples in 2 shards' in out
  assert out.splitlines()[1:] == ['damaged: 1.tar: 9: no image', '1 damaged']
  assert data.main(['index', '--decode', str(folder / '1.tar')]) == 0
  out = capsys.readouterr().out
  assert f'damaged: {folder}/1.tar/4: not a readable image' in out
  assert out.endswith('2 damaged\n')


def test_help_and_package_import_nothing_heavy():
  script = """
import sys
import difjax.data
from difjax.cli import data
try:
  data.main(['prepare', '--help'])
except SystemExit as e:
  assert e.code == 0
heavy = {'jax', 'sklearn', 'grain', 'tensorflow_datasets', 'tensorflow', 'PIL'}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
  root = str(pathlib.Path(__file__).parents[2])
  subprocess.run(
    [sys.executable, '-c', script],
    check=True,
    cwd=root,
    env={'PYTHONPATH': root},
    capture_output=True,
  )


def test_inspect_measures_and_proposes(tmp_path, capsys):
  flags = ['--source.type=data.Digits', '--source.split=test', '--images=60']
  files = [f'--json={tmp_path}/found.json', f'--out={tmp_path}/out']
  assert data.main(['inspect', *flags, *files]) == 0
  out = capsys.readouterr().out
  assert '60 of 500' in out
  found = json.loads((tmp_path / 'found.json').read_text())
  assert (found['count'], found['shapes']) == (60, [[8, 8, 1, 60]])
  assert f'{found["distances"]["largest"]:.4f}' in out
  written = sorted(path.name for path in (tmp_path / 'out').iterdir())
  assert written == ['distances.png', 'images.png', 'levels.png']


def test_inspect_reads_the_data_of_a_config(capsys):
  path = pathlib.Path(__file__).parents[2] / 'configs' / 'quickstart.py'
  config = [f'--config={path}', '--config.data.source.split=test']
  assert data.main(['inspect', *config, '--images=50']) == 0
  assert '50 of 500' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    ([], 'inspect needs a data set'),
    (['--source.type=data.Digit'], "did you mean 'Digits'"),
    (['--source.type=data.Digits', '--images=0'], 'images'),
    (['--source.type=data.ImageFolder', '--source.path=gone'], 'not exist'),
  ],
)
def test_inspect_says_in_one_line_what_is_wrong(flags, said):
  with pytest.raises(errors.DifjaxError, match=said) as error:
    data.main(['inspect', *flags])
  assert '\n' not in str(error.value)
