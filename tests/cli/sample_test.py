"""`difjax sample`: files that others read, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from difjax.training import writers
from tests import tiny


@pytest.fixture(scope='module')
def sampled(trained, tmp_path_factory):
  """Twelve images of classes 3 and 7, the first one with index 5."""
  from difjax import __main__

  out = tmp_path_factory.mktemp('sample') / 'new' / 'out'
  code = __main__.main([
    'sample', f'--workdir={trained}', f'--out={out}', '--num=12', '--first=5',
    '--labels=3,7', '--block=12', '--seed=9',
  ])  # fmt: skip
  assert code == 0
  return out


def test_files(sampled):
  names = {path.name for path in sampled.iterdir()}
  assert names == {'blocks', 'grid.png', 'png', 'samples.npz'}
  images = {path.name for path in (sampled / 'png').iterdir()}
  assert images == {f'{i:06d}.png' for i in range(5, 17)}


def test_arrays_are_those_of_the_files(sampled):
  found = np.load(sampled / 'samples.npz', allow_pickle=False)
  assert set(found) == {'arr_0', 'arr_1'}
  images, labels = found['arr_0'], found['arr_1']
  assert images.dtype == np.uint8
  assert images.shape == (12, 8, 8, 1)
  assert labels.dtype == np.int64
  assert labels.tolist() == [(3, 7)[i % 2] for i in range(5, 17)]
  for i, image in zip(range(5, 17), images, strict=True):
    with Image.open(sampled / 'png' / f'{i:06d}.png') as picture:
      assert picture.mode == 'L'
      np.testing.assert_array_equal(np.asarray(picture), image[..., 0])
  assert len(np.unique(images.reshape(12, -1), axis=0)) == 12


def test_the_same_call_gives_the_same_bytes(sampled, trained, tmp_path, call):
  """Of fewer images from another start: index 9 is index 9."""
  code, out, err = call(
    'sample', f'--workdir={trained}', f'--out={tmp_path}/out', '--num=2',
    '--first=9', '--labels=3,7', '--block=12', '--seed=9',
  )  # fmt: skip
  assert code == 0, err
  for name in ('000009.png', '000010.png'):
    assert (tmp_path / 'out' / 'png' / name).read_bytes() == (
      sampled / 'png' / name
    ).read_bytes()
  lines = out.splitlines()
  assert lines[0] == '2 images, 4.0 network evaluations each (at most 4)'
  assert lines[-1] == f'{tmp_path}/out'


def test_the_sampler_can_be_changed(trained, tmp_path, call):
  code, out, _ = call(
    'sample', f'--workdir={trained}', f'--out={tmp_path}/out', '--num=3',
    '--block=3', '--sampler.grid.steps=6',
  )  # fmt: skip
  assert code == 0
  assert '6.0 network evaluations' in out
  labels = np.load(tmp_path / 'out' / 'samples.npz')['arr_1']
  assert labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
  ('flag', 'code', 'named'),
  [
    ('--labels=3,10', 2, 'no class 10: the model has 10'),
    ('--labels=-1', 2, 'no class -1'),
    ('--labels=three', 2, '--labels=three: give whole numbers'),
    ('--num=0', 2, 'num'),
    ('--num=many', 2, 'many'),
    ('--seed=-1', 2, 'seed'),
    ('--seed=4294967296', 2, 'seed'),
    ('--first=4294967296', 2, 'first'),
    ('--ema=mane', 2, "keeps no average 'mane', but main"),
    ('--sampler.grid.stpes=3', 2, "did you mean 'steps'"),
    ('--sampler.type=os.system', 2, "'os.system' may not be used"),
    ('--sampler.type=FixedGrid', 2, "did you mean 'sampling.FixedGrid'?"),
    ('--sampler.typ=x.Y', 2, "sampler.typ: no such key; did you mean 'type'?"),
    ('--unknown=3', 2, 'unknown'),
  ],
)
def test_a_mistake_is_named(flag, code, named, trained, tmp_path, refused):
  out = tmp_path / 'out'
  line = refused(code, 'sample', f'--workdir={trained}', f'--out={out}', flag)
  assert named in line
  assert not out.exists()


@pytest.mark.parametrize('argv', [[], ['--workdir=x'], ['--out=x']])
def test_missing_flags(argv, refused):
  refused(2, 'sample', *argv)


def test_an_empty_out_is_not_the_current_folder(trained, refused):
  line = refused(2, 'sample', f'--workdir={trained}', '--out=')
  assert 'needs --workdir=DIR and --out=DIR' in line


def test_a_folder_with_files_is_left_alone(trained, tmp_path, refused):
  (tmp_path / '000000.png').write_text('mine')
  line = refused(2, 'sample', f'--workdir={trained}', f'--out={tmp_path}')
  assert 'is not empty' in line
  assert (tmp_path / '000000.png').read_text() == 'mine'


def test_a_file_in_the_place_of_the_folder(trained, tmp_path, refused):
  (tmp_path / 'out').write_text('mine')
  refused(2, 'sample', f'--workdir={trained}', f'--out={tmp_path}/out')
  assert (tmp_path / 'out').read_text() == 'mine'


def test_a_workdir_that_is_not_there(tmp_path, refused):
  argv = [f'--workdir={tmp_path}/nothere', f'--out={tmp_path}/out']
  assert 'is not there' in refused(2, 'sample', *argv)


def test_a_run_without_a_checkpoint(copied, tmp_path, refused):
  for path in sorted((copied / 'checkpoints').rglob('*'), reverse=True):
    path.rmdir() if path.is_dir() else path.unlink()
  argv = [f'--workdir={copied}', f'--out={tmp_path}/out']
  assert 'train first' in refused(5, 'sample', *argv)
  assert not (tmp_path / 'out').exists()


def spoil(file, change):
  data = json.loads(file.read_text())
  change(data)
  file.write_text(json.dumps(data))


@pytest.mark.parametrize(
  ('place', 'name'),
  [
    (('objective', 'network'), 'os.system'),
    (('objective', 'network'), 'builtins.eval'),
    (('objective', 'network'), 'data.shards.os.system'),
    (('objective', 'process'), 'subprocess.Popen'),
    (('sampler', 'solver'), 'tests.tiny.FillDisk'),
  ],
)
def test_a_saved_config_runs_no_code_of_strangers(
  place, name, copied, tmp_path, refused
):
  def change(config):
    for key in place:
      config = config[key]
    config.clear()
    config['type'] = name

  spoil(copied / 'config.json', change)
  line = refused(
    2, 'sample', f'--workdir={copied}', f'--out={tmp_path}/out'
  )
  assert name in line


@pytest.mark.parametrize('file', ['config.json', 'data.json'])
@pytest.mark.parametrize(
  'text', ['', '{"sampler": ', '[1, 2]', '\x00\xff', '{}'],
  ids=['empty', 'torn', 'list', 'bytes', 'bare'],
)  # fmt: skip
def test_a_saved_file_that_is_no_config(file, text, copied, tmp_path, refused):
  (copied / file).write_bytes(text.encode('latin1'))
  refused(2, 'sample', f'--workdir={copied}', f'--out={tmp_path}/out')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('key', ['objective', 'sampler'])
def test_a_saved_config_without_a_part(key, copied, tmp_path, refused):
  spoil(copied / 'config.json', lambda config: config.pop(key))
  line = refused(2, 'sample', f'--workdir={copied}', f'--out={tmp_path}/out')
  assert key in line


def test_a_width_that_is_not_the_checkpoints(copied, tmp_path, refused):
  def widen(config):
    config['objective']['network']['width'] = 32

  spoil(copied / 'config.json', widen)
  argv = [f'--workdir={copied}', f'--out={tmp_path}/out']
  assert 'does not fit' in refused(5, 'sample', *argv)
  assert (copied / 'checkpoints' / '4').is_dir()


def test_an_average_of_the_run(trained, tmp_path, call):
  """The raw parameters give other images than their average."""
  found = []
  for name in ('main', ''):
    out = tmp_path / f'out{name}'
    code, _, err = call(
      'sample', f'--workdir={trained}', f'--out={out}', '--num=4',
      '--block=12', f'--ema={name}',
    )  # fmt: skip
    assert code == 0, err
    found.append(np.load(out / 'samples.npz')['arr_0'])
  assert (found[0] != found[1]).any()


def test_the_run_it_reads_stays_as_it_was(trained):
  assert [row['step'] for row in writers.read_metrics(trained)] == [1, 2, 3, 4]
  assert (trained / 'checkpoints' / '4' / 'difjax_manifest.json').exists()
  assert tiny.ROOT not in trained.parents


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
  """The work directory of a classifier of noisy digits."""
  from difjax import __main__

  workdir = tmp_path_factory.mktemp('classifier') / 'run'
  code = __main__.main([
    'train', '--config=tests/tiny_classifier.py', f'--workdir={workdir}',
    '--config.steps=2', '--config.checkpoints.every=2',
  ])  # fmt: skip
  assert code == 0
  return workdir


def test_training_a_classifier_logs_its_accuracy(classifier):
  rows = writers.read_metrics(classifier)
  assert [row['step'] for row in rows] == [1, 2]
  assert all(0 <= row['train/accuracy'] <= 1 for row in rows)


def test_a_classifier_cannot_be_sampled(classifier, tmp_path, refused):
  line = refused(
    2, 'sample', f'--workdir={classifier}', f'--out={tmp_path}/out',
    '--trust=tests',
  )  # fmt: skip
  assert 'is a Classifier and has no denoiser' in line
  assert not (tmp_path / 'out').exists()


def test_guided_by_a_classifier(classifier, trained, sampled, tmp_path, call):
  """Index, seed and labels of `sampled`: only the guidance differs."""
  code, _, err = call(
    'sample', f'--workdir={trained}', f'--out={tmp_path}/out', '--num=12',
    '--first=5', '--labels=3,7', '--block=12', '--seed=9', '--trust=tests',
    f'--guidance.workdir={classifier}', '--guidance.scale=50.0',
  )  # fmt: skip
  assert code == 0, err
  found = np.load(tmp_path / 'out' / 'samples.npz')
  plain = np.load(sampled / 'samples.npz')
  np.testing.assert_array_equal(found['arr_1'], plain['arr_1'])
  assert (found['arr_0'] != plain['arr_0']).any()


def test_classifier_free_guidance(trained, sampled, tmp_path, call):
  """Scale 1 draws what no guidance draws, at twice the evaluations."""
  found = {}
  for scale in (1.0, 4.0):
    code, out, err = call(
      'sample', f'--workdir={trained}', f'--out={tmp_path}/{scale}',
      '--num=12', '--first=5', '--labels=3,7', '--block=12', '--seed=9',
      f'--classifier_free.scale={scale}', '--threshold.consistent=true',
      '--threshold.bound.type=denoising.Clip', '--threshold.bound.low=-1e9',
      '--threshold.bound.high=1e9',
    )  # fmt: skip
    assert code == 0, err
    assert '8.0 network evaluations each' in out
    found[scale] = np.load(tmp_path / f'{scale}' / 'samples.npz')['arr_0']
  plain = np.load(sampled / 'samples.npz')['arr_0'].astype(int)
  assert np.abs(found[1.0] - plain).max() <= 1
  assert np.abs(found[4.0] - plain).max() > 1


def test_a_model_that_was_never_without_a_label_is_not_led(
  copied, tmp_path, refused
):
  spoil(
    copied / 'config.json',
    lambda config: config['objective'].pop('label_dropout'),
  )
  line = refused(
    2, 'sample', f'--workdir={copied}', f'--out={tmp_path}/out',
    '--classifier_free.scale=2',
  )  # fmt: skip
  assert 'train it with config.objective.label_dropout=0.1' in line
  assert not (tmp_path / 'out').exists()


def test_restoring_an_image(trained, tmp_path, call):
  known = np.full((8, 8), 40, np.uint8)
  known[:, :4] = 200
  Image.fromarray(known).save(tmp_path / 'photo.png')
  code, _, err = call(
    'sample', f'--workdir={trained}', f'--out={tmp_path}/out', '--num=3',
    '--block=3', f'--restore.image={tmp_path}/photo.png',
    '--restore.operator.type=denoising.Window', '--restore.operator.left=0.5',
    '--restore.operator.right=1.0', '--restore.operator.top=0.0',
    '--restore.operator.bottom=1.0',
  )  # fmt: skip
  assert code == 0, err
  with np.load(tmp_path / 'out' / 'samples.npz') as found:
    assert set(found) == {'arr_0'}  # of no class in particular
    images = found['arr_0'][..., 0].astype(int)
  assert np.abs(images[:, :, :4] - 200).max() <= 1
  assert len(np.unique(images.reshape(3, -1), axis=0)) == 3
  with Image.open(tmp_path / 'out' / 'measurement.png') as picture:
    shown = np.asarray(picture).astype(int)
  assert np.abs(shown[:, :4] - 200).max() <= 1
  assert np.abs(shown[:, 4:] - 128).max() <= 1


@pytest.mark.parametrize(
  ('flags', 'text'),
  [
    (['--restore.index=3'], 'restore needs an image'),
    (['--restore.imag=a.png'], "did you mean 'image'"),
    (['--restore.image=a.png'], 'a.png'),
    (
      ['--restore.source.type=data.Digits', '--restore.operator.factor=2'],
      'restore.operator must be',
    ),
    (
      [
        '--restore.source.type=data.Digits',
        '--restore.operator.type=denoising.Grey',
      ],
      'Grey has no use for images of 8x8x1',
    ),
    (['--guidance.scale=2'], 'guidance.workdir is missing'),
    (['--autoguidance.scale=2'], 'autoguidance.workdir is missing'),
    (['--classifier_free.scale=two'], "'two'"),
    (['--classifier_free.interval=3'], 'classifier_free.interval must be'),
    (['--classifier_free.interval=2,1'], 'must be low, high: 2, 1'),
    (['--classifier_free.rule.channels=3'], 'classifier_free.rule must be'),
    (['--threshold.bound.low=0'], 'threshold.bound must be'),
    (['--guidance.workdir=nowhere'], 'nowhere'),
    (['--guidance.type=os.system', '--guidance.workdir=ls'], 'may not be used'),
  ],
)
def test_what_cannot_lead(flags, text, trained, tmp_path, refused):
  argv = [f'--workdir={trained}', f'--out={tmp_path}/out', *flags]
  assert text in refused(2, 'sample', *argv)
  assert not (tmp_path / 'out').exists()


def test_a_model_is_no_classifier(trained, tmp_path, refused):
  line = refused(
    2, 'sample', f'--workdir={trained}', f'--out={tmp_path}/out',
    f'--guidance.workdir={trained}',
  )  # fmt: skip
  assert 'is a Denoising and has no log_prob' in line
