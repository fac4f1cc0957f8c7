"""The study of solvers: orders as slopes, evaluations as they were."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from difjax import data, processes, sampling
from difjax.evaluation import baselines, mixture, report, solver_study, trained
from tests import tiny

STUDY = solver_study.SolverStudy(
  solvers={'DDIM': sampling.DDIM(), 'Heun': sampling.Heun()},
  noisy={'DDPM': sampling.DDIM(eta=1.0)},
  others={'coarse': (sampling.FixedGrid(
    solver=sampling.DDIM(), grid=sampling.LogSNR(steps=2)
  ),)},
  grid=sampling.LogSNR, evaluations=(200, 800),
  mixture=mixture.Mixture(process=processes.EDM(t_min=0.05, t_max=10.0)),
  images=24, size=16,
)  # fmt: skip


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """The page of the mixture alone, and the points in it."""
  folder, kept = tmp_path_factory.mktemp('solvers'), {}
  points = solver_study.SolverStudy.points

  def keep(self, subject):
    kept.update(points(self, subject))
    return dict(kept)

  with pytest.MonkeyPatch.context() as patch, tiny.quick_compilation():
    patch.setattr(solver_study.SolverStudy, 'points', keep)
    path = STUDY.write(None, folder)
  return folder, path, kept


def test_orders_are_slopes(written):
  _, _, found = written
  for name, order in (('DDIM', 1), ('Heun', 2)):
    (few, err_few, *_), (many, err_many, *_) = found[name]
    slope = np.log(err_few / err_many) / np.log(many / few)
    assert abs(slope - order) < 0.15
  fine, *_ = found['']
  assert fine.error == 0


def test_evaluations_are_those_that_were_made(written):
  _, _, found = written
  counts = {name: [p.evaluations for p in v] for name, v in found.items()}
  assert counts['DDIM'] == counts['DDPM'] == [200, 800]
  assert counts['Heun'] == [199, 799]
  assert counts['coarse'] == [2]


def test_quality_ends_at_that_of_the_fine_solution(written):
  _, _, found = written
  floor = found[''][0].quality
  assert abs(found['Heun'][-1].quality - floor) < 1e-3
  assert abs(found['coarse'][0].quality - floor) > 1e-2


def test_the_page_stands_alone(written):
  folder, path, _ = written
  assert path == str(folder / 'solvers.html')
  page = (folder / 'solvers.html').read_text()
  assert page.count('data:image/png;base64,') == 2
  assert 'all share: Heun at 200, Heun at 800 evaluations.' in page
  for name in ('mixture_error', 'mixture_quality'):
    with Image.open(folder / 'solvers' / f'{name}.png') as picture:
      assert min(picture.size) > 400


def test_a_section_of_a_trained_model():
  objective, params = tiny.exact_noise(processes.VP())
  model = trained.Trained(
    objective=objective, params=params, shape=(8, 8, 1), num_classes=0,
    class_names=(), step=1, config={},
  )  # fmt: skip
  digits = data.Digits(split='test').take(np.arange(80))
  made = solver_study.SolverStudy(
    solvers={'DDIM': sampling.DDIM()}, grid=sampling.LogSNR, images=70, size=70,
    evaluations=(3,), reference=sampling.FixedGrid(
      solver=sampling.DDIM(), grid=sampling.LogSNR(steps=12)
    ),
  )  # fmt: skip
  drawn = []

  def draw(name, png, caption, *, curves=False):
    drawn.append(name)
    return report.Figure(png=png, caption=caption, alt=caption, curves=curves)

  with tiny.quick_compilation():
    section = made(
      model, baselines.Labelled(digits['image'], digits['label']), draw
    )
  assert drawn == ['model_error', 'model_quality', 'model_samples']
  assert [figure.curves for figure in section.figures] == [True, True, False]
  header, rows = section.table.header, section.table.rows
  assert [row[0] for row in rows] == ['DDIM', 'fine solution']
  assert header == ['solver', '3']
  assert {len(row) for row in rows} == {2}
  assert rows[0][1].endswith(' (3)')
