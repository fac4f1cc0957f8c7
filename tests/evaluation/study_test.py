"""The whole study, of a network that is known in closed form."""

from __future__ import annotations

import dataclasses
import json

import pytest
from PIL import Image

from difjax import data, errors, processes, sampling
from difjax.evaluation import report, samples, study, trained
from tests import tiny


def sampler(steps):
  return sampling.FixedGrid(
    solver=sampling.DDIM(), grid=sampling.LogSNR(steps=steps)
  )


@dataclasses.dataclass(frozen=True)
class Words:
  """A section that a config adds, of text alone."""

  def __call__(self, model, held_out, draw):
    """Counts what it is given."""
    text = f'{model.step} steps, {len(held_out.images)} held out'
    return report.Section(title='Words of its own', text=text)


STUDY = study.Study(
  train=data.Digits(), held_out=data.Digits(split='test'),
  sampler=sampler(5), few=sampler(2), curves={'DDIM': (sampler(2), sampler(5))},
  images=60, size=60, title='A study', sections=(Words(),),
)  # fmt: skip
OBJECTIVE, PARAMS = tiny.exact_noise(processes.VP())
MODEL = trained.Trained(
  objective=OBJECTIVE, params=PARAMS, shape=(8, 8, 1), num_classes=10,
  class_names=tuple('0123456789'), step=20, config={'data': {'batch_size': 16}},
)  # fmt: skip
ROWS = [
  {'step': 10, 'train/loss': 0.9, 'perf/images_per_s': 80.0,
   'train/loss_t0': 1.2, 'train/loss_t1': float('nan')},
  {'step': 20, 'train/loss': 0.5, 'perf/images_per_s': 160.0,
   'train/loss_t0': 0.7, 'train/loss_t1': 0.3},
]


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('study')
  lines = [json.dumps(row) + '\n' for row in ROWS]
  (workdir / 'metrics.jsonl').write_text(''.join(lines))
  with tiny.quick_compilation():
    path = STUDY.write(MODEL, workdir)
  return workdir, path


def test_the_page_stands_alone(written):
  workdir, path = written
  assert path == str(workdir / 'report.html')
  page = (workdir / 'report.html').read_text()
  assert page.count('data:image/png;base64,') == 8
  assert 'src="http' not in page
  assert 'A study' in page
  assert 'Words of its own' in page
  assert f'20 steps, {len(data.Digits(split="test"))} held out' in page
  # 10 steps of 16 images at 80 a second, and 10 at 160.
  assert 'training, 20 steps: 3.0 s' in page
  assert '60 samples, 5.0 evaluations each: ' in page


def test_the_pictures_are_files_too(written):
  workdir, _ = written
  names = {path.stem for path in (workdir / 'report').iterdir()}
  assert names == {
    'samples', 'denoising', 'neighbours', 'evaluations', 'loss',
    'loss_by_level', 'loss_by_time', 'throughput',
  }  # fmt: skip
  for path in (workdir / 'report').iterdir():
    with Image.open(path) as picture:
      assert min(picture.size) > 20


def test_the_figures_are_kept_with_what_they_are_of(written):
  workdir, _ = written
  found = json.loads((workdir / 'report.json').read_text())
  assert found['of'] == {'step': 20, 'config': {'data': {'batch_size': 16}}}
  assert len(found) > 1


def test_the_same_study_is_not_made_again(written, monkeypatch):
  workdir, path = written
  before = (workdir / 'report.html').stat().st_mtime_ns

  def forbidden(*args, **kwargs):
    raise AssertionError('sampled again')

  monkeypatch.setattr(samples, 'generate', forbidden)
  assert STUDY.write(MODEL, workdir) == path
  assert (workdir / 'report.html').stat().st_mtime_ns == before
  later = dataclasses.replace(MODEL, step=30)
  with pytest.raises(AssertionError, match='sampled again'):
    STUDY.write(later, workdir)


def test_a_model_without_classes_is_refused(tmp_path):
  model = dataclasses.replace(MODEL, num_classes=0)
  with pytest.raises(errors.DataError, match='class-conditional'):
    STUDY.write(model, tmp_path)
  assert not list(tmp_path.iterdir())
