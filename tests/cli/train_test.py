"""`difjax train`: what it refuses, in one line, and that it spoils nothing."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from difjax import errors, pytree
from difjax.training import lock, writers
from tests import tiny

CONFIG = '--config=tests/tiny_config.py'
FOLDER = """
from tests import tiny_mean_config

def get_config():
  config = tiny_mean_config.get_config()
  config.data.source = dict(type='data.ImageFolder', path={path!r})
  return config
"""


def test_a_run_leaves_its_files(trained):
  names = {path.name for path in trained.iterdir()}
  assert names == {
    'config.json', 'data.json', 'events.jsonl', 'metrics.jsonl', 'run.json',
    'checkpoints',
  }  # fmt: skip
  config = json.loads((trained / 'config.json').read_text())
  assert config['steps'] == 4
  assert config['objective']['network']['type'] == 'networks.DiT'
  card = json.loads((trained / 'data.json').read_text())
  assert card['shape'] == [8, 8, 1]
  assert card['num_classes'] == 10
  steps = [row['step'] for row in writers.read_metrics(trained)]
  assert steps == [1, 2, 3, 4]


def test_progress_is_told(tmp_path, call):
  code, out, err = call(
    'train', '--config=tests/tiny_mean_config.py', f'--workdir={tmp_path}/run'
  )
  assert (code, out) == (0, '')
  assert err[-1].startswith('step 12/12  loss 0.')
  assert 'images/s' in err[-1]
  assert 'ETA' in err[-1]


@pytest.mark.parametrize(
  ('flag', 'named'),
  [
    (
      '--config.objective.network.widht=3',
      "config.objective.network.widht: no such key; did you mean 'width'?",
    ),
    (
      '--config.objective.network.type=networks.DIT',
      "config.objective.network.type: there is no 'networks.DIT'; did you mean "
      "'DiT'?",
    ),
    (
      '--config.objective.type=mylab.Nothing',
      "config.objective.type: there is no 'mylab.Nothing'",
    ),
    ('--config.objective.network.width=wide', 'wide'),
    ('--config.objective.network.width=1.5', '1.5'),
    ('--config.objective.network.remat=3', 'config.objective.network.remat'),
    ('--config.objective.label_dropout=2.0', 'label_dropout'),
    ('--config.sampler.solver.eat=1.0', "did you mean 'eta'?"),
    ('--config.stpes=3', "config.stpes: no such key; did you mean 'steps'?"),
    ('--config.data.batch_size=0', 'batch_size=0'),
    ('--config.data.batch_size=12', 'config.data.batch_size = 12'),
    ('--config.objective.network.heads=3', 'config.objective'),
    ('--config.objective.network.patch=(3, 3)', 'patch'),
    ('--wrokdir=x', 'wrokdir'),
    ('stray', 'stray'),
  ],
)
def test_a_mistake_in_the_config_is_named(flag, named, tmp_path, refused):
  workdir = tmp_path / 'run'
  line = refused(2, 'train', CONFIG, f'--workdir={workdir}', flag)
  assert named in line


@pytest.mark.parametrize(
  'argv', [[], [CONFIG], ['--workdir=nowhere']], ids=' '.join
)
def test_missing_flags(argv, refused):
  assert '--config=FILE and --workdir=DIR' in refused(2, 'train', *argv)


def test_a_bucket_is_no_work_directory(refused):
  line = refused(2, 'train', CONFIG, '--workdir=gs://bucket/run')
  assert '--config.checkpoints.directory=gs://bucket/run' in line


def test_a_config_file_that_is_not_there(tmp_path, refused):
  argv = ['--config=configs/nothere.py', f'--workdir={tmp_path}/run']
  assert 'configs/nothere.py' in refused(2, 'train', *argv)
  assert not (tmp_path / 'run').exists()


def test_a_config_file_that_fails(tmp_path, refused):
  file = tmp_path / 'mine.py'
  file.write_text('def get_config():\n  raise KeyError("of mine")\n')
  line = refused(2, 'train', f'--config={file}', f'--workdir={tmp_path}/run')
  assert str(file) in line
  assert 'of mine' in line


def test_the_run_of_another_config_is_left_alone(copied, refused):
  before = {path: path.stat().st_mtime_ns for path in copied.rglob('*')}
  line = refused(
    2, 'train', CONFIG, f'--workdir={copied}', '--config.data.batch_size=8'
  )
  assert 'config.data.batch_size: 16 -> 8' in line
  after = {path: path.stat().st_mtime_ns for path in copied.rglob('*')}
  assert after == before


@pytest.mark.parametrize(
  ('flag', 'named'),
  [
    (
      '--config.objective.network.width=32',
      'config.objective.network.width: 16 -> 32',
    ),
    (
      '--config.data.source.split=test',
      "config.data.source.split: 'train' -> 'test'",
    ),
  ],
)
def test_what_changed_in_the_config_is_named(flag, named, copied, refused):
  line = refused(2, 'train', CONFIG, f'--workdir={copied}', flag)
  assert named in line


def test_going_back_to_a_step_that_was_saved(copied, call, refused):
  argv = ['train', CONFIG, f'--workdir={copied}', '--config.steps=6']
  assert call(*argv)[0] == 0
  line = refused(2, *argv, '--resume_step=5')
  assert line.endswith('has the steps [4, 6]')
  code, _, err = call(*argv, '--resume_step=4')
  assert code == 0, err
  names = {path.name for path in (copied / 'checkpoints').iterdir()}
  assert names == {'4', '6', '6.rolled_back'}
  steps = [row['step'] for row in writers.read_metrics(copied)]
  assert steps == [1, 2, 3, 4, 5, 6]


def test_a_run_at_work_is_left_alone(copied, refused):
  before = {path: path.stat().st_mtime_ns for path in copied.rglob('*')}
  with lock.held(copied):
    line = refused(
      2, 'train', CONFIG, f'--workdir={copied}', '--config.steps=6'
    )
  assert f'is in use by process {os.getpid()} on ' in line
  after = {path: path.stat().st_mtime_ns for path in copied.rglob('*')}
  assert {**after, copied: 0} == {**before, copied: 0}


def test_more_steps_and_other_reports_are_the_same_run(copied, call):
  code, _, err = call(
    'train', CONFIG, f'--workdir={copied}', '--config.steps=6',
    '--config.sampler.grid.steps=5', '--config.log_every=2',
  )  # fmt: skip
  assert code == 0, err
  steps = [row['step'] for row in writers.read_metrics(copied)]
  assert steps == [1, 2, 3, 4, 6]
  assert json.loads((copied / 'config.json').read_text())['steps'] == 6


def test_a_finished_run_says_so(copied, call, caplog):
  code, out, _ = call(
    'train', CONFIG, f'--workdir={copied}', '--config.steps=4'
  )
  assert (code, out) == (0, '')
  (line,) = caplog.messages
  assert line == 'step 4 of 4: nothing left to do; raise --config.steps'
  assert [row['step'] for row in writers.read_metrics(copied)] == [1, 2, 3, 4]


def test_a_folder_with_other_files_is_left_alone(tmp_path, refused):
  (tmp_path / 'thesis.tex').write_text('...')
  line = refused(2, 'train', CONFIG, f'--workdir={tmp_path}')
  assert 'no run of difjax' in line
  assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


def test_a_workdir_that_is_a_file(tmp_path, refused):
  (tmp_path / 'run').write_text('mine')
  assert 'run' in refused(2, 'train', CONFIG, f'--workdir={tmp_path}/run')
  assert (tmp_path / 'run').read_text() == 'mine'


def test_a_saved_config_that_is_no_json(copied, refused):
  (copied / 'config.json').write_text('{"steps": ')
  assert 'config.json' in refused(2, 'train', CONFIG, f'--workdir={copied}')


def test_a_mesh_that_does_not_fit(tmp_path, refused):
  file = tmp_path / 'mine.py'
  file.write_text(
    'from tests import tiny_config\ndef get_config():\n'
    '  config = tiny_config.get_config()\n'
    '  config.mesh = dict(type="training.Mesh", fsdp=3)\n  return config\n'
  )
  line = refused(2, 'train', f'--config={file}', f'--workdir={tmp_path}/run')
  assert 'config.mesh' in line
  assert 'fsdp=3' in line


@pytest.fixture
def pictures(tmp_path):
  """Twenty noisy 8x8 images and a config that trains on them."""
  folder = tmp_path / 'pictures'
  folder.mkdir()
  rng = np.random.default_rng(0)
  for i in range(20):
    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f'{i:02d}.png')
  file = tmp_path / 'folder.py'
  file.write_text(FOLDER.format(path=str(folder)))
  return folder, ['train', f'--config={file}', f'--workdir={tmp_path}/run']


def test_a_folder_of_images(pictures, call):
  _, argv = pictures
  code, _, err = call(*argv)
  assert code == 0, err


@pytest.mark.parametrize('number', [0, 7])
def test_an_image_that_cannot_be_decoded_is_named(number, pictures, call):
  """The first one is met before the first step, the other by a thread."""
  folder, argv = pictures
  file = folder / f'{number:02d}.png'
  file.write_bytes(file.read_bytes()[:60])
  assert str(file) in told(call(*argv))


def test_images_of_two_sizes_are_named(pictures, call):
  folder, argv = pictures
  Image.new('RGB', (8, 9)).save(folder / '11.png')
  line = told(call(*argv))
  assert f'{folder}/11.png is 8x9' in line
  assert 'size=' in line


def told(ended):
  """The line in which a run that had begun says why its data ended it."""
  code, out, err = ended
  lines = [line for line in err if line.startswith('difjax train: ')]
  assert (code, out, lines) == (4, '', err[-1:])
  return lines[0]


def test_an_empty_folder_is_named(pictures, refused):
  folder, argv = pictures
  for file in folder.iterdir():
    file.unlink()
  assert f'{folder} has no images' in refused(4, *argv)


def test_a_folder_that_is_not_there_is_named(pictures, refused):
  folder, argv = pictures
  folder.rename(folder.with_name('moved'))
  assert f'{folder} does not exist' in refused(4, *argv)


def test_a_start_that_failed_does_not_tie_the_workdir(pictures, call, refused):
  """The path was wrong; with it mended, the same command trains."""
  _, argv = pictures
  refused(4, *argv, '--config.data.source.path=elsewhere')
  assert call(*argv)[0] == 0


def test_training_that_is_not_finite(tmp_path, call):
  argv = ['--config=tests/tiny_mean_config.py', f'--workdir={tmp_path}/run']
  code, _, err = call(
    'train', *argv, '--config.max_streak=3',
    '--config.objective.bad=(4, 5, 6, 7, 8)',
  )  # fmt: skip
  assert code == 3
  assert 'in a row were not finite' in err[-1]
  assert [line for line in err if line.startswith('difjax')] == [err[-1]]


def test_debug_shows_where(tmp_path):
  from difjax import __main__

  with pytest.raises(errors.ConfigError):
    __main__.main(['train', CONFIG, '--debug', '--workdir=x', '--config.x=1'])


def test_the_config_makes_what_the_loop_trains():
  trainer = tiny.trainer()
  assert trainer.objective.network.width == 16
  assert hash(trainer.objective) == hash(tiny.trainer().objective)
  assert pytree.count(trainer.optimiser.transformation().init({})) == 2
