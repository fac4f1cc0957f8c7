"""`difjax reproduce`: an official checkpoint beside what is published."""

from __future__ import annotations

import json
import pathlib

import pytest

from configs import parts
from difjax.interop import imported
from tests.cli import score_images
from tests.cli.score_images import BY_PIXELS
from tests.interop import official
from tests.training import jobs

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden/edm/ddpmpp.pkl'
ROW = """
from ml_collections import config_dict

from configs import parts


def get_config():
  config = config_dict.ConfigDict()
  config.objective = {objective!r}
  config.data = dict(
    type='data.Pipeline', source=dict(type='data.Digits'), batch_size=8
  )
  config.optimiser = parts.adam(parts.constant(1e-3))
  config.ema = dict(main=dict(type='training.ConstantEMA', rate=0.5))
  config.sampler = parts.ddim(2)
  config.published = dict(
    type='evaluation.Published', source='a paper', evaluations=2,
    figures={figures!r}, spread=dict(fd_pixels=(0.0, 1e3)),
    count=6, reference_count=20,
  )
  return config
"""


def written(file, objective, figures):
  """Writes a config that has a published figure."""
  file.write_text(ROW.format(objective=objective, figures=figures))
  return file


@pytest.fixture
def row(tmp_path):
  """A config of ours for the tiny checkpoint."""
  objective = parts.score_sde(
    network=official.NETWORK, process=dict(type='processes.SubVP')
  )
  return written(tmp_path / 'row.py', objective, {'fd_pixels': 3.0})


@pytest.fixture
def argv(row, tmp_path):
  """A command line of that row."""
  source = tmp_path / 'checkpoint_1.pth'
  source.write_bytes(official.checkpoint()[0])
  real = score_images.images(tmp_path / 'real.npz')
  return (
    'reproduce', row, f'--checkpoint={source}', f'--reference={real}',
    f'--out={tmp_path}/out', '--block=3', *BY_PIXELS,
  )  # fmt: skip


def test_a_checkpoint_of_score_sde(argv, tmp_path, call):
  code, out, err = call(*argv)
  assert code == 0, err
  assert 'published: a paper' in out
  card = json.loads((tmp_path / 'out' / 'card.json').read_text())
  value = card['figures']['fd_pixels']['value']
  assert f'fd_pixels  published 3 (0 to 1000)  ours {value:.6g}' in out
  # Pixels are no published network, so that nothing can be said.
  assert 'cannot be said: the protocol is another' in out
  assert 'published weights: published True, here False' in out
  assert 'images: published' not in out
  assert 'evaluations: published' not in out
  assert 'sampler.' not in out
  assert card['samples']['count'] == 6
  text = (tmp_path / 'out' / 'reproduction.txt').read_text()
  assert out.endswith(text)
  code, again, _ = call(*argv)
  assert (code, again) == (0, out)


@pytest.mark.slow
def test_fewer_images_and_another_sampler(argv, call):
  code, out, err = call(*argv, '--num=4', '--sampler.grid.steps=3')
  assert code == 0, err
  assert 'images: published 6, here 4' in out
  assert 'evaluations: published 2, here 3' in out
  assert 'sampler.grid.steps: published 2, here 3' in out


@pytest.mark.slow
def test_a_checkpoint_of_edm(tmp_path, call):
  """Published is a figure that these features are not of."""
  objective = imported.convert(GOLDEN).spec
  row = written(tmp_path / 'row.py', objective, {'fid': 1.97})
  real = score_images.images(tmp_path / 'real.npz', shape=(16, 16, 3))
  code, out, err = call(
    'reproduce', row, f'--checkpoint={GOLDEN}', f'--reference={real}',
    f'--out={tmp_path}/out', '--num=2', '--block=2', *BY_PIXELS,
  )  # fmt: skip
  assert code == 0, err
  assert 'fid  published 1.97  ours none' in out
  assert 'not measured here (but fd_pixels' in out
  assert 'images: published 6, here 2' in out


def test_mistakes(argv, row, tmp_path, refused):
  assert 'needs ROW' in refused(2, 'reproduce')
  assert "no row 'nothere'" in refused(2, 'reproduce', 'nothere')
  line = refused(2, 'reproduce', 'quickstart', *argv[2:])
  assert 'states no published figures' in line
  other = tmp_path / 'other.pth'
  line = refused(2, *argv[:2], f'--checkpoint={other}', *argv[3:])
  assert 'other.pth is not there' in line
  row.write_text(row.read_text().replace('figures=', 'figure='))
  assert 'published.figure' in refused(2, *argv)


@pytest.mark.slow
def test_several_processes(argv, call):
  """One process converts; those of a job would wait for each other."""
  command = ['-m', 'difjax', *map(str, argv)]
  for said in jobs.run(command, 2, seconds=60, code=2):
    assert 'start this command as one process' in said.splitlines()[-1]
  code, out, err = call(*argv)
  assert code == 0, err
  first, second = jobs.run(command, 2, seconds=60)
  assert first.endswith(out)
  assert 'published' not in second


def test_another_checkpoint_needs_another_folder(argv, tmp_path, refused):
  run = tmp_path / 'out' / 'run'
  run.mkdir(parents=True)
  (run / 'origin.json').write_text('{"sha256": "x"}')
  assert 'is of another checkpoint' in refused(2, *argv)
