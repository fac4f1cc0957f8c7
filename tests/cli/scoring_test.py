"""`difjax evaluate` of images: scores, cards, sweeps and comparisons."""

from __future__ import annotations

import json

import numpy as np
import pytest

from difjax.evaluation import gathered, references
from tests.cli import score_images
from tests.cli.score_images import BY_PIXELS, value
from tests.training import jobs

MADE, REAL = '--samples=made.npz', '--reference=real.npz'


@pytest.fixture
def files(tmp_path):
  """Flags of two sets."""
  made = score_images.images(tmp_path / 'made.npz', seed=1)
  real = score_images.images(tmp_path / 'real.npz', seed=2)
  return f'--samples={made}', f'--reference={real}'


def test_files_of_any_tool(files, tmp_path, call):
  saved = tmp_path / 's.npz'
  code, out, err = call(
    'evaluate', *files, *BY_PIXELS, f'--out={tmp_path}/a',
    f'--save_statistics={saved}',
  )  # fmt: skip
  assert code == 0, err
  assert out.splitlines()[-1] == f'{tmp_path}/a/card.html'
  card = json.loads((tmp_path / 'a' / 'card.json').read_text())
  distance = card['figures']['fd_pixels']['value']
  assert value(out, 'fd_pixels') == pytest.approx(distance, rel=1e-5)
  assert {'kd_pixels', 'precision', 'coverage'} <= set(card['figures'])
  code, again, err = call(
    'evaluate', files[0], f'--reference={saved}', *BY_PIXELS,
    f'--out={tmp_path}/b',
  )  # fmt: skip
  assert code == 0, err
  assert value(again, 'fd_pixels') == value(out, 'fd_pixels')
  assert 'left out: kd_pixels' in again
  code, text, err = call(
    'evaluate', '--compare', tmp_path / 'a', tmp_path / 'b'
  )
  assert code == 0, err
  assert text.index('reference.kind') < text.index('fd_pixels')
  assert 'equal' in text


def test_saved_statistics_replace_no_file(files, tmp_path, call, refused):
  saved, images = tmp_path / 's.npz', tmp_path / 'real.npz'
  argv = ('evaluate', *files, *BY_PIXELS)
  before = images.read_bytes()
  line = refused(2, *argv, f'--save_statistics={images}')
  assert 'real.npz is there' in line
  assert images.read_bytes() == before
  code, out, err = call(*argv, f'--save_statistics={saved}')
  assert code == 0, err
  before = saved.read_bytes()
  code, again, err = call(*argv, f'--save_statistics={saved}')
  assert (code, again) == (0, out), err
  made = files[0].removeprefix('--samples=')
  code, out, err = call(
    'evaluate', files[0], f'--reference={made}', *BY_PIXELS,
    f'--save_statistics={saved}',
  )  # fmt: skip
  assert (code, out) == (2, '')
  assert 'no statistics of these images' in err[-1]
  assert saved.read_bytes() == before


@pytest.mark.parametrize('out', ['', 'made.npz', 'made.npz/out'])
def test_a_folder_that_cannot_be_made(
  out, files, tmp_path, monkeypatch, refused
):
  """It is refused before anything is computed."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(gathered, 'gather', None)
  refused(2, 'evaluate', *files, *BY_PIXELS, f'--out={out}')


def test_a_reference_is_read_once_all_is_sampled(
  trained, tmp_path, call, monkeypatch
):
  """Other processes of a job do not wait for that."""
  seen = []
  read = references.read
  real = score_images.images(tmp_path / 'real.npz')

  def late(path):
    seen.extend((tmp_path / 'out' / 'samples' / 'blocks').glob('0*.npz'))
    return read(path)

  monkeypatch.setattr(references, 'read', late)
  code, _, err = call(
    'evaluate', f'--workdir={trained}', f'--reference={real}', '--num=10',
    '--block=5', *BY_PIXELS, f'--out={tmp_path}/out',
  )  # fmt: skip
  assert code == 0, err
  assert len(seen) == 2


@pytest.mark.parametrize(
  ('flag', 'code', 'named'),
  [
    ('--reference=nothere', 4, 'nothere is not there'),
    ('--features.type=interop.Inception', 4, 'fetch https://'),
    ('--save_statistics=real.npz', 2, 'real.npz is there'),
    ('--save_statistics=x', 2, 'end it in .npz'),
  ],
)  # fmt: skip
def test_mistakes_end_a_run_before_it_is_sampled(
  flag, code, named, trained, tmp_path, monkeypatch, refused
):
  score_images.images(tmp_path / 'real.npz')
  monkeypatch.setenv('DIFJAX_WEIGHTS', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  assert named in refused(
    code, 'evaluate', f'--workdir={trained}', REAL, *BY_PIXELS, '--out=out',
    flag,
  )  # fmt: skip
  assert not (tmp_path / 'out').exists()


def test_a_reference_of_a_source(tmp_path, call):
  made = score_images.images(tmp_path / 'made.npz')
  code, out, err = call(
    'evaluate', f'--samples={made}', '--source.type=data.Digits',
    '--source.split=test', *BY_PIXELS,
  )  # fmt: skip
  assert code == 0, err
  assert value(out, 'fd_pixels') > 0


def test_a_run_is_sampled_and_scored(trained, tmp_path, call):
  real = score_images.images(tmp_path / 'real.npz')
  argv = (
    'evaluate', f'--workdir={trained}', f'--reference={real}', '--num=10',
    '--block=5', *BY_PIXELS,
  )  # fmt: skip
  code, out, err = call(*argv, f'--out={tmp_path}/a')
  assert code == 0, err
  card = json.loads((tmp_path / 'a' / 'card.json').read_text())
  assert card['samples']['count'] == 10
  assert (card['model']['step'], card['model']['ema']) == (4, 'main')
  assert card['model']['sampler']['grid']['steps'] == 4
  assert card['model']['evaluations'] == {'mean': 4.0, 'most': 4}
  code, again, err = call(*argv, f'--out={tmp_path}/a')
  assert (code, again) == (0, out)
  code, _, err = call(
    *argv, f'--out={tmp_path}/b', '--sampler.grid.steps=2', '--seed=5'
  )
  assert code == 0, err
  _, text, _ = call('evaluate', '--compare', tmp_path / 'a', tmp_path / 'b')
  assert 'model.sampler.grid.steps: 4 -> 2' in text
  assert 'incomparable' not in text
  assert 'is lower (no interval)' in text


def test_every_checkpoint_of_a_run(trained, tmp_path, call):
  real = score_images.images(tmp_path / 'real.npz')
  argv = (
    'evaluate', f'--workdir={trained}', f'--reference={real}', '--num=10',
    '--block=5', *BY_PIXELS, '--checkpoints=all', f'--out={tmp_path}/out',
  )  # fmt: skip
  code, out, err = call(*argv)
  assert code == 0, err
  assert out.splitlines()[-1] == f'{tmp_path}/out/sweep.html'
  sweep = json.loads((tmp_path / 'out' / 'sweep.json').read_text())
  assert sweep['steps'] == [4]
  file = tmp_path / 'out' / '00000004' / 'card.json'
  card = json.loads(file.read_text())
  value = card['figures']['fd_pixels']['value']
  assert sweep['figures']['fd_pixels'] == [value]
  assert (tmp_path / 'out' / 'sweep_fd_pixels.png').exists()
  before = file.stat().st_mtime_ns
  code, again, _ = call(*argv)
  assert (code, again) == (0, out)
  assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize(
  ('argv', 'code', 'named'),
  [
    (['--samples=nothere', REAL], 4, 'nothere is not there'),
    ([MADE], 2, 'give one reference'),
    ([MADE, '--reference=x'], 4, 'x is not there'),
    ([MADE, REAL, '--source.type=data.Digits'], 2, 'give one reference'),
    ([MADE, REAL, '--features.type=interop.X'], 2, "no 'interop.X'"),
    ([MADE, REAL, '--features.convention=tf'], 2,
     "no convention 'tf'; there are: clean-fid"),
    ([MADE, REAL], 4, 'fetch https://github.com/mseitzer'),
    ([MADE, REAL, '--figures.subset=many'], 2, 'figures.subset'),
    ([MADE, REAL, '--features.type=os.system'], 2, "'os.system' may not"),
    ([REAL], 2, '--workdir=DIR and --out=DIR'),
    (['--compare', 'a'], 2, 'needs two cards'),
    (['--compare', 'nothere', 'b'], 4, 'is not there: make it by'),
  ],
)  # fmt: skip
def test_mistakes(argv, code, named, tmp_path, monkeypatch, refused):
  score_images.images(tmp_path / 'made.npz')
  score_images.images(tmp_path / 'real.npz')
  monkeypatch.setenv('DIFJAX_WEIGHTS', str(tmp_path))
  monkeypatch.chdir(tmp_path)
  assert named in refused(code, 'evaluate', *argv)


@pytest.mark.slow
def test_a_job_ends_as_its_first_process(trained, tmp_path):
  """Where scoring fails, goes well, and finds a card of another protocol."""
  grey = score_images.images(tmp_path / 'grey.npz')
  rgb = score_images.images(tmp_path / 'rgb.npz', shape=(8, 8, 3))
  job = lambda code, *argv: jobs.run(
    ['-m', 'difjax', 'evaluate', f'--workdir={trained}', '--num=10',
     '--block=5', *BY_PIXELS, f'--out={tmp_path}/out', *argv],
    2, seconds=100, code=code,
  )  # fmt: skip
  for said in job(
    4, f'--reference={grey}', '--features.type=interop.Inception',
    f'--features.path={tmp_path}/weights.pth',
  ):  # fmt: skip
    assert 'weights.pth is not there' in said.splitlines()[-1]
  first, second = job(4, f'--reference={rgb}')
  assert 'have 64 entries and those of the reference 192' in first
  assert second.splitlines()[-1] == (
    'this process ends with process 0, which says why'
  )
  first, second = job(0, f'--reference={grey}')
  assert 'fd_pixels' in first
  assert 'fd_pixels' not in second
  first, second = job(2, f'--reference={grey}', '--figures.subsets=3')
  assert 'of another protocol' in first
  assert 'which says why' in second


def test_a_checkpoint_that_is_not_there(trained, tmp_path, refused):
  real = score_images.images(tmp_path / 'real.npz')
  argv = (
    'evaluate', f'--workdir={trained}', f'--reference={real}', *BY_PIXELS,
    f'--out={tmp_path}/out',
  )  # fmt: skip
  line = refused(2, *argv, '--checkpoints=3')
  assert 'no checkpoint of step 3; there are: 4' in line
  line = refused(2, *argv, '--checkpoints=all', '--step=4')
  assert 'leave --step out' in line


def test_images_of_mixed_shapes(tmp_path, refused):
  made = score_images.images(tmp_path / 'made.npz', shape=(8, 8, 3))
  real = score_images.images(tmp_path / 'real.npz')
  argv = ('evaluate', f'--samples={made}', f'--reference={real}', *BY_PIXELS)
  # A bar of progress stands on stderr before the line.
  from difjax import __main__

  assert __main__.main([str(arg) for arg in argv]) == 4
  np.testing.assert_array_equal(np.load(made)['arr_0'].shape, (20, 8, 8, 3))
