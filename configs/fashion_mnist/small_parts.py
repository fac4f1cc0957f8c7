"""Parts of the small Fashion-MNIST experiments: one setting, many models.

Images are the 10,000 of the test files at 16 x 16: 8,000 to train, 2,000 held
out. Where the likelihood is asked for, bytes are dequantised in training as
they are for it.
"""

from typing import Any

from ml_collections import config_dict

from configs import parts

Spec = dict[str, Any]

DATA_STD = 0.67  # of the pixels in [-1, 1]

NETWORK = dict(
  type='networks.UNet', channels=16, multipliers=(1, 2, 2),
  blocks_per_level=1, attention_resolutions=(8,), dropout=0.0,
)  # fmt: skip


def images(start: int, stop: int) -> Spec:
  """Returns some of the images as a source."""
  source = dict(
    type='data.Idx',
    images='data/fashion_mnist/t10k-images-idx3-ubyte.gz',
    labels='data/fashion_mnist/t10k-labels-idx1-ubyte.gz',
  )
  scale = dict(resize=dict(type='data.Resize', size=16), order=('resize',))
  whole = dict(type='data.Mapped', source=source, transforms=scale)
  return dict(type='data.Subset', source=whole, start=start, stop=stop)


def experiment(
  objective: Spec, steps: int, t_min: float = 1e-3
) -> config_dict.ConfigDict:
  """Returns a run, and how its likelihood and its samples are judged.

  Args:
    objective: what is trained.
    steps: of 64 images.
    t_min: where samplers end, the paper's 1e-3 (VP, sub-VP) or 1e-5 (VE).
  """
  config = _run(objective, steps)
  config.dequantise = True
  config.evaluation = _evaluation(t_min)
  config.sampler = config.evaluation.ode.sampler
  config.report = _pictures(parts.heun(steps=36))
  return config


def few_steps(objective: Spec, grid: Spec) -> config_dict.ConfigDict:
  """Returns a class-conditional run, and what few evaluations of it reach.

  Args:
    objective: what is trained.
    grid: a partial that makes the model's own times of some `steps`.
  """
  config = _run(dict(objective, label_dropout=0.1), steps=3_000)
  config.sampler = _on(grid, dict(type='sampling.Heun'), steps=18)
  config.report = parts.gallery(
    'Fashion-MNIST at 16 x 16', images(8_000, 10_000), config.sampler,
    solvers=_few(grid),
    guided=parts.guidance_sweep(
      parts.multistep(10), images(0, 8_000), images=500, size=125
    ),
  )  # fmt: skip
  return config


def conditional() -> Spec:
  """Returns the network, with classes."""
  return dict(NETWORK, num_classes=10)


def _run(objective: Spec, steps: int) -> config_dict.ConfigDict:
  config = config_dict.ConfigDict()
  config.objective = objective
  config.data = dict(
    type='data.Pipeline', source=images(0, 8_000), batch_size=64
  )
  config.steps = steps
  config.optimiser = parts.adam(parts.warmup_cosine(1e-3, 250, steps))
  config.ema = dict(main=dict(type='training.WarmedUpEMA', rate=0.999))
  return config


def _on(grid: Spec, solver: Spec, steps: int) -> Spec:
  """Returns a sampler on some steps of a partial of a grid."""
  fields = {key: grid[key] for key in grid if key != 'partial'}
  times = dict(type=grid['partial'], steps=steps, **fields)
  return dict(type='sampling.FixedGrid', solver=solver, grid=times)


def _few(grid: Spec) -> Spec:
  """Returns a comparison of five solvers on a model's own times."""
  solver = lambda kind, **values: dict(type=f'sampling.{kind}', **values)
  fine = _on(grid, solver('DPMSolverPP', order=3), steps=200)
  return dict(
    type='evaluation.SolverStudy', grid=grid, train=images(0, 8_000),
    images=500, size=125, mixture=None, reference=fine,
    solvers={
      'DDIM': solver('DDIM'),
      'Heun': solver('Heun'),
      'DPM-Solver++ 2M': solver('DPMSolverPP', order=2),
      'UniPC-3': solver('UniPC', order=3, final_order=2),
    },
    noisy={'DDPM': solver('DDIM', eta=1.0)},
  )  # fmt: skip


def _pictures(sampler: Spec) -> Spec:
  """Returns a report that restores held-out images and leads to classes."""
  guidance = dict(
    type='evaluation.ClassifierGuidance', workdir='runs/classifier'
  )
  return parts.gallery(
    'Fashion-MNIST at 16 x 16', images(8_000, 10_000), sampler,
    restored=parts.restorations(sampler),
    guided=dict(
      type='evaluation.GuidanceSection', sampler=sampler, guidance=guidance
    ),
  )  # fmt: skip


def _evaluation(t_min: float) -> Spec:
  """Returns quality by three samplers, and bits per dimension."""
  grid = lambda steps: dict(type='sampling.Uniform', steps=steps, t_min=t_min)
  pc = dict(
    type='sampling.CorrectedGrid',
    predictor=dict(type='sampling.ReverseDiffusion'),
    corrector=dict(type='sampling.Langevin', snr=0.16),
    grid=grid(200),
  )
  ancestral = dict(
    type='sampling.FixedGrid', solver=dict(type='sampling.DDIM', eta=1.0),
    grid=grid(400),
  )  # fmt: skip
  return dict(
    pc=_quality(pc, count=512),
    ancestral=_quality(ancestral, count=1_000),
    ode=_quality(parts.adaptive(1e-4), count=1_000),
    bits=dict(
      type='evaluation.Likelihood', source=images(8_000, 10_000), images=500
    ),
    order=('ode', 'bits', 'ancestral', 'pc'),
  )


def _quality(sampler: Spec, count: int) -> Spec:
  return dict(
    type='evaluation.Quality', sampler=sampler, images=count,
    train=images(0, 8_000), held_out=images(8_000, 10_000),
  )  # fmt: skip
