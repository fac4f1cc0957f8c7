"""Parts of the score-SDE paper's experiments: plain data, no jax.

Song et al. 2021, Score-Based Generative Modeling through SDEs. A network and a
process make a system, which is the objective, the paper's sampler for it and
its EMA; a system and a data set make an experiment. Fields given to a network
go before those stated here.

The official VE models see data in [0, 1]; here data are in [-1, 1] always.
Sigmas are given in official units and doubled here, for every VE system: the
networks and their time input stay those of the paper.
"""

from typing import Any

from ml_collections import config_dict

from configs import parts

Spec = dict[str, Any]

FIR_DOWN = dict(type='networks.FIRDown')
FIR_UP = dict(type='networks.FIRUp')
FOURIER = dict(partial='networks.Fourier', scale=16.0)
LEVELS = 1_000  # of the discrete systems
SMALL = dict(type='sampling.DDIM', eta=1.0)  # ancestral, small variance
UNIT = 2.0  # the width of [-1, 1] over that of [0, 1]
SIGMA = dict(type='denoising.Sigma', unit=UNIT)


def ddpmpp(**fields: Any) -> Spec:
  """Returns DDPM++ for 32 x 32 pixels."""
  return dict(type='networks.UNet', **fields)


def ncsnpp(**fields: Any) -> Spec:
  """Returns NCSN++ for 32 x 32 pixels: DDPM++, FIR, a residual pyramid."""
  pyramid = dict(
    input_residual=dict(partial='networks.ConvDown', kernel=(1, 3, 3, 1))
  )
  return ddpmpp(**{**_fir(), **pyramid, **fields})


def ncsnpp_skips(**fields: Any) -> Spec:
  """Returns NCSN++ for 256 x 256 pixels: skips in and out of every level."""
  shape = dict(multipliers=(1, 1, 2, 2, 2, 2, 2), blocks_per_level=2)
  pyramids = dict(input_skip=FIR_DOWN, output_skip=FIR_UP)
  return ddpmpp(
    **{**_fir(), **pyramids, **shape, 'dropout': 0.0, 'encoding': FOURIER,
       **fields}
  )  # fmt: skip


def ncsnpp_1024() -> Spec:
  """Returns NCSN++ for 1024 x 1024 pixels."""
  return ncsnpp_skips(
    channels=16, multipliers=(1, 2, 4, 8, 16, 32, 32, 32), blocks_per_level=1
  )


def ddpm(**fields: Any) -> Spec:
  """Returns the network of Ho et al. 2020, as score SDE has it."""
  return dict(
    type='networks.UNet',
    **{
      'blocks_per_level': 2,
      'skip_rescale': False,
      'block': dict(partial='networks.ResidualBlock', shortcut_scale=0.1),
      'down': dict(partial='networks.ConvDown'),
      'up': dict(partial='networks.ConvUp'),
      'norm': dict(partial='networks.GroupNorm', min_channels=1),
      **fields,
    },
  )


def ddpm_256() -> Spec:
  """Returns the network of Ho et al. 2020 for 256 x 256 pixels."""
  return ddpm(multipliers=(1, 1, 2, 2, 4, 4), dropout=0.0)


def original_ddpm(**fields: Any) -> Spec:
  """Returns the network of Ho et al. 2020 for 32 x 32 pixels, as they have it.

  Attention follows every block on the way up.
  """
  return ddpm(
    attention_every_up_block=True,
    block=dict(partial='networks.ResidualBlock'), **fields,
  )  # fmt: skip


def original_ddpm_256() -> Spec:
  """Returns the network of Ho et al. 2020 for 256 x 256, as they have it."""
  return original_ddpm(multipliers=(1, 1, 2, 2, 4, 4), dropout=0.0)


def refinenet(**fields: Any) -> Spec:
  """Returns the RefineNet of NCSN and NCSNv2 for 32 and 64 pixels."""
  return dict(type='networks.RefineNet', **fields)


def refinenet_128() -> Spec:
  """Returns the RefineNet of NCSNv2 for 128 x 128 pixels."""
  return refinenet(
    multipliers=(1, 2, 2, 4, 4), dilations=(1, 1, 1, 2, 4),
    refine_multipliers=(1, 1, 2, 2, 4),
  )  # fmt: skip


def _fir() -> Spec:
  block = lambda f: dict(partial='networks.ResidualBlock', resampling=f)
  return dict(down=block(FIR_DOWN), up=block(FIR_UP))


def vp(network: Spec) -> Spec:
  """Returns the continuous VP system, sampled by Euler-Maruyama."""
  return _continuous(network, 'processes.VP')


def subvp(network: Spec) -> Spec:
  """Returns the continuous sub-VP system, sampled by Euler-Maruyama."""
  return _continuous(network, 'processes.SubVP')


def _continuous(network: Spec, process: str) -> Spec:
  return dict(
    objective=parts.score_sde(
      network, dict(type=process, beta_min=0.1, beta_max=20.0)
    ),
    sampler=dict(
      type='sampling.FixedGrid',
      solver=dict(type='sampling.EulerMaruyama'),
      grid=dict(type='sampling.Uniform', steps=1_000, t_min=1e-3),
    ),
    ema=0.9999,
  )


def vp_discrete(network: Spec, solver: Spec | None = None) -> Spec:
  """Returns DDPM's system; by default its ancestral sampling, large variance.

  The network sees the level's index.
  """
  objective = parts.score_sde(
    network, dict(type='processes.LinearBetas', levels=LEVELS)
  )
  objective['inputs']['noise'] = dict(
    type='denoising.Linear', factor=float(LEVELS), offset=-1.0
  )
  objective['times'] = dict(type='objectives.LevelTimes')
  return dict(
    objective=objective,
    sampler=dict(
      type='sampling.FixedGrid',
      solver=solver or dict(type='sampling.DDIM', eta=1.0, spread=1.0),
      grid=dict(type='sampling.Levels', steps=LEVELS),
    ),
    ema=0.9999,
  )


def ve(
  network: Spec, sigma_max: float, snr: float, steps: int = 1_000
) -> Spec:
  """Returns the continuous VE system: reverse diffusion, one correction."""
  network = dict(network, scale_by_sigma=True)
  return dict(
    objective=_score(
      network, ve_process(sigma_max), SIGMA, 'objectives.UniformTimes'
    ),
    sampler=_corrected(
      snr, dict(type='sampling.Uniform', steps=steps, t_min=1e-5)
    ),
    ema=0.999,
  )


def ve_process(sigma_max: float) -> Spec:
  """Returns the continuous VE process, from the official sigma_max."""
  return dict(
    type='processes.VE', sigma_min=0.01 * UNIT, sigma_max=sigma_max * UNIT
  )


def ve_discrete(network: Spec, sigma_max: float, snr: float) -> Spec:
  """Returns the discrete VE system; the network sees a descending index."""
  sigmas = dict(sigma_min=0.01, sigma_max=sigma_max, levels=LEVELS)
  network = dict(
    network, scale_by_sigma=True, sigma=dict(type='networks.SigmaOfIndex',
                                             **sigmas)
  )  # fmt: skip
  return dict(
    objective=_score(
      network, _ladder(sigma_max, LEVELS), _descending(LEVELS),
      'objectives.LevelTimes',
    ),
    sampler=_corrected(snr, dict(type='sampling.Levels', steps=LEVELS)),
    ema=0.999,
  )  # fmt: skip


def ncsn(sigma_max: float, levels: int, snr: float, steps: int) -> Spec:
  """Returns NCSN's system: norms by level, annealed Langevin dynamics."""
  network = refinenet(levels=levels, sigma=None)
  return _annealed(network, sigma_max, levels, snr, steps, denoise=False)


def ncsnv2(
  network: Spec, sigma_max: float, levels: int, snr: float, steps: int
) -> Spec:
  """Returns NCSNv2's system: output over sigma, a last denoising step."""
  sigma = dict(
    type='networks.SigmaOfIndex', sigma_min=0.01, sigma_max=sigma_max,
    levels=levels,
  )  # fmt: skip
  network = dict(network, sigma=sigma)
  return _annealed(network, sigma_max, levels, snr, steps, denoise=True)


def _annealed(
  network: Spec, sigma_max: float, levels: int, snr: float, steps: int, *,
  denoise: bool,
) -> Spec:  # fmt: skip
  return dict(
    objective=_score(
      network, _ladder(sigma_max, levels), _descending(levels),
      'objectives.LevelTimes',
    ),
    sampler=dict(
      type='sampling.CorrectedGrid',
      predictor=dict(type='sampling.Idle'),
      corrector=dict(type='sampling.AnnealedLangevin', snr=snr, steps=steps),
      grid=dict(type='sampling.Levels', steps=levels),
      denoise=denoise,
    ),
    ema=0.999,
  )  # fmt: skip


def _score(network: Spec, process: Spec, noise: Spec, times: str) -> Spec:
  """Returns score matching weighted by sigma^2: half of a sum, not a mean."""
  noise_error = dict(
    type='objectives.UniformWeighting', of=dict(type='denoising.Noise')
  )
  return dict(
    type='objectives.Denoising',
    network=network,
    process=process,
    target=dict(type='denoising.Score', unit=UNIT),
    inputs=dict(type='denoising.InputMap', noise=noise),
    times=dict(type=times),
    weighting=noise_error,
    reduction=dict(ref='objectives.half_sum'),
  )


def _ladder(sigma_max: float, levels: int) -> Spec:
  return dict(
    type='processes.Ladder', levels=levels, sigma_min=0.01 * UNIT,
    sigma_max=sigma_max * UNIT,
  )  # fmt: skip


def _descending(levels: int) -> Spec:
  return dict(
    type='denoising.Linear', factor=-float(levels), offset=float(levels)
  )


def _corrected(snr: float, grid: Spec) -> Spec:
  return dict(
    type='sampling.CorrectedGrid',
    predictor=dict(type='sampling.ReverseDiffusion'),
    corrector=dict(type='sampling.Langevin', snr=snr),
    grid=grid,
  )


def cifar10() -> Spec:
  """Returns CIFAR-10's training images."""
  return _pipeline(
    dict(
      type='data.CifarArchive', path='data/cifar-10-python.tar.gz',
      split='train',
    ),
    batch_size=128,
  )  # fmt: skip


def celeba() -> Spec:
  """Returns CelebA: the central 140 x 140 pixels, scaled to 64 x 64."""
  crop = dict(type='data.Crop', size=140)
  resize = dict(type='data.Resize', size=64, filter='bilinear')
  source = dict(
    type='data.Mapped',
    source=dict(
      type='data.Tfds', name='celeb_a', split='train', label_key=None
    ),
    transforms=dict(crop=crop, resize=resize, order=('crop', 'resize')),
  )
  return _pipeline(source, batch_size=128)


def lsun(
  category: str, size: int = 256, batch_size: int = 64, *, flip: bool = True
) -> Spec:
  """Returns a category of LSUN: the central square at `size` pixels."""
  path = f'data/lsun/{category}_train_lmdb'
  source = dict(type='data.Lmdb', path=path, size=size)
  return _pipeline(source, batch_size, flip=flip)


def stylegan(path: str, batch_size: int) -> Spec:
  """Returns a TFRecord file of StyleGAN's."""
  return _pipeline(dict(type='data.StyleGAN', path=path), batch_size)


def _pipeline(source: Spec, batch_size: int, *, flip: bool = True) -> Spec:
  transforms = dict(flip=dict(type='data.Flip'), order=('flip',))
  return dict(
    type='data.Pipeline', source=source, batch_size=batch_size,
    **({'transforms': transforms} if flip else {}),
  )  # fmt: skip


def adam(rate: float) -> Spec:
  """Returns the paper's Adam: clipped, after a warm-up of 5,000 steps."""
  return parts.adam(parts.warmup(rate, steps=5_000))


def plain_adam(rate: float) -> Spec:
  """Returns NCSN's Adam: neither clipped nor warmed up."""
  return parts.adam(parts.constant(rate), clip_norm=None)


def experiment(
  system: Spec,
  data: Spec,
  steps: int,
  *,
  optimiser: Spec | None = None,
  grid_rows: int = 8,
) -> config_dict.ConfigDict:
  """Returns a whole config.

  Args:
    system: objective, sampler and EMA.
    data: what is modelled.
    steps: of training.
    optimiser: None for the paper's Adam at 2e-4.
    grid_rows: rows and columns of the samples drawn along the way.
  """
  config = config_dict.ConfigDict()
  config.objective = system['objective']
  config.data = data
  config.steps = steps
  config.optimiser = optimiser or adam(2e-4)
  config.ema = dict(
    main=dict(type='training.ConstantEMA', rate=system['ema'])
  )
  config.sampler = system['sampler']
  config.hooks = parts.sample_grids(config.sampler, every=50_000)
  config.hooks.grid.rows = grid_rows
  config.checkpoints = parts.checkpoints(every=10_000, keep_every=50_000)
  return config


def published(fid: float, score: float, evaluations: int) -> Spec:
  """Returns figures of the paper's table 3 on CIFAR-10 with their protocol.

  They are the best of its checkpoints; no spread is stated.
  """
  return dict(
    type='evaluation.Published',
    figures=dict(fid=fid, inception_score=score), evaluations=evaluations,
    reference='CIFAR-10, training images', reference_count=50_000,
    convention='score-sde', quantiser='score_sde',
    source='Song et al. 2021, table 3: best of the checkpoints',
  )  # fmt: skip
