"""Parts that experiments are composed of: plain data, no jax.

Each function returns the specification of one part of a config; see
`difjax/config.py` for how `type`, `partial` and `ref` become objects.
"""

from typing import Any

Spec = dict[str, Any]

_DIT_SIZES = {  # depth, width, heads: Peebles & Xie 2023, table 1
  'S': (12, 384, 6),
  'B': (12, 768, 12),
  'L': (24, 1024, 16),
  'XL': (28, 1152, 16),
}


def dit(size: str, patch: int, **fields: Any) -> Spec:
  """Returns a DiT by the letter of its size and its patch."""
  depth, width, heads = _DIT_SIZES[size]
  return dict(
    type='networks.DiT', depth=depth, width=width, heads=heads,
    patch=(patch, patch), **fields,
  )  # fmt: skip


def edm(network: Spec, data_std: float = 0.5, mean: float = -1.2) -> Spec:
  """Returns EDM's objective (Karras et al. 2022, table 1) for a network.

  `mean` is that of log(sigma) in training: higher for small images, whose
  classes are decided at higher noise.
  """
  return dict(
    type='objectives.Denoising',
    network=network,
    process=dict(type='processes.EDM'),
    target=dict(type='denoising.Preconditioned', data_std=data_std),
    inputs=dict(
      type='denoising.InputMap',
      scale=dict(type='denoising.UnitVariance', data_std=data_std),
      noise=dict(type='denoising.LogSigma', factor=0.25, unit=1.0),
    ),
    times=dict(
      type='objectives.LogNormalTimes', mean=mean, std=1.2, stratified=False
    ),
    weighting=dict(type='objectives.EDMWeighting', data_std=data_std),
  )


def score_sde(network: Spec, process: Spec) -> Spec:
  """Returns score matching on a VP-like process (Song et al. 2021)."""
  return dict(
    type='objectives.Denoising',
    network=network,
    process=process,
    target=dict(type='denoising.Noise'),
    inputs=dict(
      type='denoising.InputMap',
      noise=dict(type='denoising.Linear', factor=999.0),
    ),
    times=dict(type='objectives.UniformTimes', stratified=False),
    weighting=dict(type='objectives.UniformWeighting'),
  )


def flow(network: Spec) -> Spec:
  """Returns conditional flow matching on straight lines, t logit-normal."""
  return dict(
    type='objectives.Denoising',
    network=network,
    process=dict(type='processes.RectifiedFlow'),
    target=dict(type='denoising.Velocity'),
    inputs=dict(
      type='denoising.InputMap',
      noise=dict(type='denoising.Linear', factor=1000.0),
    ),
    times=dict(
      type='objectives.LogitNormalTimes', mean=0.0, std=1.0, stratified=False
    ),
    weighting=dict(type='objectives.UniformWeighting'),
  )


def sit(network: Spec) -> Spec:
  """Returns SiT's objective: flow matching, the clock from noise to data."""
  return dict(
    type='objectives.Denoising',
    network=network,
    process=dict(type='processes.RectifiedFlow'),
    target=dict(type='denoising.Velocity', factor=-1.0),
    inputs=dict(
      type='denoising.InputMap',
      noise=dict(type='denoising.Linear', factor=-1.0, offset=1.0),
    ),
    times=dict(type='objectives.UniformTimes', stratified=False),
    weighting=dict(type='objectives.UniformWeighting'),
    label_dropout=0.1,
  )


def learned_range(network: Spec) -> Spec:
  """Returns DiT's and ADM's objective: DDPM's levels, a learned variance.

  The network has twice the output channels of its input.
  """
  levels = 1_000
  return dict(
    type='objectives.Hybrid',
    bound_weight=1 / levels,
    network=network,
    process=dict(type='processes.LinearBetas', levels=levels),
    target=dict(type='denoising.Noise'),
    inputs=dict(
      type='denoising.InputMap',
      noise=dict(type='denoising.Linear', factor=float(levels), offset=-1.0),
    ),
    times=dict(type='objectives.LevelTimes', stratified=False),
    weighting=dict(type='objectives.UniformWeighting'),
    label_dropout=0.1,
  )


def adam(schedule: Spec, clip_norm: float | None = 1.0, **betas: float) -> Spec:
  """Returns Adam under a learning-rate schedule."""
  return dict(
    type='training.Optimiser',
    clip_norm=clip_norm,
    rule=dict(type='optax.scale_by_adam', **betas),
    schedule=schedule,
  )


def warmup(rate: float, steps: int) -> Spec:
  """Returns a linear warm-up to a constant rate."""
  return dict(
    type='optax.warmup_constant_schedule',
    init_value=0.0, peak_value=rate, warmup_steps=steps,
  )  # fmt: skip


def warmup_cosine(rate: float, warmup_steps: int, steps: int) -> Spec:
  """Returns a linear warm-up to a rate and a cosine decay to zero."""
  return dict(
    type='optax.warmup_cosine_decay_schedule', init_value=0.0,
    peak_value=rate, warmup_steps=warmup_steps, decay_steps=steps,
  )  # fmt: skip


def constant(rate: float) -> Spec:
  """Returns a constant rate."""
  return dict(type='optax.constant_schedule', value=rate)


def heun(steps: int) -> Spec:
  """Returns EDM's deterministic sampler: 2 steps - 1 evaluations."""
  return dict(
    type='sampling.FixedGrid',
    solver=dict(type='sampling.Heun'),
    grid=dict(type='sampling.Karras', steps=steps, rho=7.0),
  )


def ddim(steps: int, eta: float = 0.0) -> Spec:
  """Returns DDIM on EDM's grid: as many evaluations as steps."""
  return dict(
    type='sampling.FixedGrid',
    solver=dict(type='sampling.DDIM', eta=eta),
    grid=dict(type='sampling.Karras', steps=steps, rho=7.0),
  )


def multistep(steps: int) -> Spec:
  """Returns DPM-Solver++ 2M on EDM's grid: as many evaluations as steps."""
  return dict(
    type='sampling.FixedGrid',
    solver=dict(type='sampling.DPMSolverPP', order=2),
    grid=dict(type='sampling.Karras', steps=steps, rho=7.0),
  )


def adaptive(tolerance: float) -> Spec:
  """Returns the adaptive probability-flow ODE."""
  return dict(type='sampling.AdaptiveODE', rtol=tolerance, atol=tolerance)


def dit_rules(min_size: int = 2**16) -> Spec:
  """Returns sharding rules for a DiT, over fsdp and tensor.

  The axis of its scan stays whole. Of attention and MLP the first layers are
  split by their outputs, the second by their inputs; the heads of one matrix
  for queries, keys and values are no even parts of it, so that one is kept by
  its inputs and rearranged by head where it is used. Arrays of fewer than
  `min_size` numbers are not split over fsdp.
  """
  fsdp = lambda **fields: dict(
    type='training.FSDP', min_size=min_size, **fields
  )
  tensor = lambda axis: dict(
    type='training.Tensor', axis=axis, rest=fsdp(skip=1)
  )
  rule = lambda pattern, tactic: dict(
    type='training.Rule', pattern=pattern, tactic=tactic
  )
  return dict(
    columns=rule('blocks/mlp_hidden/', tensor(-1)),
    rows=rule('blocks/(attention/(qkv|out)|mlp_out)/kernel', tensor(-2)),
    blocks=rule('blocks/', fsdp(skip=1)),
    rest=rule('.*', fsdp()),
    order=('columns', 'rows', 'blocks', 'rest'),
  )


def sample_grids(sampler: Spec, every: int) -> Spec:
  """Returns the hooks of a run that draws a grid of samples now and then."""
  grid = dict(type='evaluation.SampleGrid', every=every, sampler=sampler)
  return dict(grid=grid, order=('grid',))


def checkpoints(every: int, keep_every: int) -> Spec:
  """Returns when to save: to resume from, and to keep for good."""
  return dict(
    type='training.Checkpoints', every=every, keep_every=keep_every
  )


def restorations(sampler: Spec) -> Spec:
  """Returns the part of a report that restores held-out images."""
  return dict(
    type='evaluation.RestorationSection',
    sampler=sampler,
    operators={
      'inpainting': dict(type='denoising.Window'),
      'colourisation': dict(type='denoising.Grey'),
      'super-resolution': dict(type='denoising.AveragePool', factor=2),
    },
  )


def guidance_sweep(sampler: Spec, train: Spec, **fields: Any) -> Spec:
  """Returns the part of a report that guides more and more strongly."""
  return dict(
    type='evaluation.GuidanceSweep', sampler=sampler, train=train, **fields
  )


def solver_study(held_out: Spec, **fields: Any) -> Spec:
  """Returns a report, or a part of one, that compares solvers on one grid."""
  solver = lambda kind, **values: dict(type=f'sampling.{kind}', **values)
  return dict(
    type='evaluation.SolverStudy',
    held_out=held_out,
    grid=dict(partial='sampling.Karras', rho=7.0),
    solvers={
      'DDIM': solver('DDIM'),
      'Heun': solver('Heun'),
      'DPM-Solver-2': solver('DPMSolver2'),
      'DPM-Solver-3': solver('DPMSolver3'),
      'DPM-Solver++ 2S': solver('DPMSolver2', data=True),
      'DPM-Solver++ 2M': solver('DPMSolverPP', order=2),
      'DPM-Solver++ 3M': solver('DPMSolverPP', order=3),
      'UniPC-2': solver('UniPC', order=2),
      'UniPC-3': solver('UniPC', order=3, final_order=2),
      'DEIS-4': solver('DEIS', order=4),
      'iPNDM-4': solver('IPNDM', order=4),
    },
    noisy={
      'DDPM': solver('DDIM', eta=1.0),
      'DPM-Solver++ SDE': solver('DPMPPSDE'),
      'SDE-DPM-Solver++ 2M': solver('SDEDPMSolverPP', order=2),
      'Heun, churned': solver('Churned', churn=5.0, solver=solver('Heun')),
    },
    others={
      'adaptive ODE': [adaptive(10.0**-n) for n in (1, 2, 3)],
      'adaptive DPM-Solver': [
        solver('AdaptiveDPM', rtol=rtol, atol=rtol / 5)
        for rtol in (0.2, 0.05, 0.01)
      ],
    },
    **fields,
  )


def gallery(
  title: str, held_out: Spec, sampler: Spec, **sections: Spec
) -> Spec:
  """Returns a report of samples and sections, judged by eye alone."""
  return dict(
    type='evaluation.Gallery',
    title=title,
    held_out=held_out,
    sampler=sampler,
    sections=dict(sections, order=tuple(sections)),
  )


def study(title: str, train: Spec, held_out: Spec) -> Spec:
  """Returns a report: Heun's samples judged, three solvers compared."""
  return dict(
    type='evaluation.Study',
    title=title,
    train=train,
    held_out=held_out,
    sampler=heun(steps=18),
    few=ddim(steps=10),
    sections=dict(
      guided=guidance_sweep(
        multistep(steps=10), train, scales=(1.0, 1.5, 2.5, 5.0), images=250
      ),
      restored=restorations(heun(steps=18)),
      order=('guided', 'restored'),
    ),
    curves={
      'DDIM': [ddim(n) for n in (5, 10, 20, 35)],
      'Heun': [heun(n) for n in (3, 5, 10, 18)],
      'adaptive ODE': [adaptive(tol) for tol in (1e-1, 1e-2)],
    },
  )
