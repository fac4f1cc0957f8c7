"""`difjax report`: what it refuses; what it writes is in evaluation's tests."""

from __future__ import annotations

import json

import pytest

from difjax.evaluation import solver_study, study


@pytest.mark.parametrize(
  ('argv', 'named'),
  [
    ([], '--workdir=DIR'),
    (['--workdir=nothere'], 'nothere/config.json is not there'),
    (['--workdir=nothere', 'stray'], ''),
  ],
)
def test_mistakes(argv, named, refused):
  assert named in refused(2, 'report', *argv)


def test_a_config_without_a_report(trained, refused):
  assert 'has no report' in refused(2, 'report', f'--workdir={trained}')


CLASSIFIER = {
  'type': 'objectives.Classifier', 'process': {'type': 'processes.VP'},
  'network': {'type': 'networks.WideResNet'},
}  # fmt: skip
REPORT = {
  'type': 'evaluation.Study', 'title': 'one',
  'train': {'type': 'data.Digits'},
  'held_out': {'type': 'data.Digits', 'split': 'test'},
  'sampler': {
    'type': 'sampling.FixedGrid', 'solver': {'type': 'sampling.Heun'},
    'grid': {'type': 'sampling.Karras', 'steps': 3},
  },
  'few': {
    'type': 'sampling.FixedGrid', 'solver': {'type': 'sampling.Heun'},
    'grid': {'type': 'sampling.Karras', 'steps': 2},
  },
  'curves': {},
}  # fmt: skip


@pytest.fixture
def with_report(copied):
  """A run whose saved config has a report."""
  file = copied / 'config.json'
  saved = {**json.loads(file.read_text()), 'report': REPORT}
  file.write_text(json.dumps(saved))
  return copied


def test_it_builds_the_study_and_prints_its_path(
  with_report, call, monkeypatch
):
  seen = []

  def write(self, model, workdir):
    seen.append((self, model, workdir))
    return 'the/path.html'

  monkeypatch.setattr(study.Study, 'write', write)
  code, out, err = call(
    'report', f'--workdir={with_report}', '--report.title=two',
    '--report.images=40',
  )  # fmt: skip
  assert code == 0, err
  assert out.splitlines()[-1] == 'the/path.html'
  ((made, model, workdir),) = seen
  assert (made.title, made.images, made.seed) == ('two', 40, 0)
  assert model.step == 4
  assert str(workdir) == str(with_report)


def test_a_mistake_in_the_report_is_named(with_report, refused):
  line = refused(
    2, 'report', f'--workdir={with_report}', '--report.sampler.grid.stpes=3'
  )
  assert "report.sampler.grid.stpes: no such key; did you mean 'steps'" in line


def test_a_saved_report_runs_no_code_of_strangers(with_report, refused):
  file = with_report / 'config.json'
  text = file.read_text().replace('data.Digits', 'os.system')
  file.write_text(text)
  assert "'os.system' may not" in refused(
    2, 'report', f'--workdir={with_report}'
  )


def test_a_report_that_needs_no_run(call, monkeypatch, tmp_path):
  seen = []

  def write(made, model, folder):
    seen.append((made, model, folder))
    return 'solvers.html'

  monkeypatch.setattr(solver_study.SolverStudy, 'write', write)
  code, out, err = call(
    'report', '--config=configs/solver_study.py', f'--out={tmp_path}',
    '--report.images=40',
  )  # fmt: skip
  assert code == 0, err
  assert out.splitlines()[-1] == 'solvers.html'
  ((made, model, folder),) = seen
  assert (made.images, model, str(folder)) == (40, None, str(tmp_path))
  assert made.solvers['UniPC-3'].order == 3


def test_a_report_of_another_config_is_of_the_run(trained, call, monkeypatch):
  seen = []
  monkeypatch.setattr(
    solver_study.SolverStudy, 'write', lambda *args: seen.append(args) or 'page'
  )
  code, _, err = call(
    'report', '--config=configs/solver_study.py', f'--workdir={trained}'
  )
  assert code == 0, err
  ((_, model, folder),) = seen
  assert model.step == 4
  assert str(folder) == str(trained)


def test_a_study_needs_its_run(tmp_path, refused):
  line = refused(
    2, 'report', '--config=configs/quickstart.py', f'--out={tmp_path}'
  )
  assert 'add --workdir=DIR' in line


def test_a_classifier_has_no_report(copied, refused):
  file = copied / 'config.json'
  saved = json.loads(file.read_text())
  saved['objective'] = CLASSIFIER
  file.write_text(json.dumps(saved))
  line = refused(2, 'report', f'--workdir={copied}')
  assert 'is a Classifier and has no denoiser' in line
