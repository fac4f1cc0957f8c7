"""Parts of ADM's and improved DDPM's experiments: plain data, no jax.

Dhariwal & Nichol 2021, Diffusion Models Beat GANs on Image Synthesis
(2105.05233), and Nichol & Dhariwal 2021, Improved Denoising Diffusion
Probabilistic Models (2102.09672). A network and levels make an objective; that
and data make an experiment.

Adam is neither clipped nor warmed up, as in the official code; bfloat16 stands
for its float16. It samples with x_0 clipped to the range of images, which is
`--threshold.bound.type=denoising.Clip` here.
"""

from typing import Any

from ml_collections import config_dict

from configs import parts

Spec = dict[str, Any]

LEVELS = 1_000  # of ADM, and those that the betas are stated for
MANY = 4_000  # levels of improved DDPM
MULTIPLIERS = {  # of the channels, by the side of images
  32: (1, 2, 2, 2),
  64: (1, 2, 3, 4),
  128: (1, 1, 2, 3, 4),
  256: (1, 1, 2, 2, 4, 4),
  512: (0.5, 1, 1, 2, 2, 4, 4),
}


def adm(size: int, channels: int = 256, blocks: int = 2, **fields: Any) -> Spec:
  """Returns ADM's network, with classes, for images of a side.

  Args:
    size: of the images.
    channels: of the first level, where its multiplier is 1.
    blocks: per level.
    **fields: of the network, which go before those stated here.
  """
  return dict(
    _adm(size, channels, blocks), type='networks.UNet', null_label=False,
    attention_every_up_block=True, up=_resampling('networks.nearest_up'),
    **{'out_channels': 6, 'num_classes': 1_000, **fields},
  )  # fmt: skip


def encoder(size: int, blocks: int) -> Spec:
  """Returns ADM's classifier of 1,000 classes."""
  pool = dict(partial='networks.AttentionPool', head_channels=64)
  return dict(
    _adm(size, 128, blocks), type='networks.UNetEncoder', num_classes=1_000,
    pool=pool,
  )  # fmt: skip


def iddpm(
  size: int, channels: int = 128, blocks: int = 3, **fields: Any
) -> Spec:
  """Returns improved DDPM's network, without classes; see `adm`."""
  return dict(
    _trunk(size, channels, blocks), type='networks.UNet', null_label=False,
    attention_every_up_block=True,
    **{
      'out_channels': 6, 'block': _block(), 'attention': heads(4),
      'attention_resolutions': (16, 8), 'up': dict(partial='networks.ConvUp'),
      'down': dict(partial='networks.ConvDown', centred=True), **fields,
    },
  )  # fmt: skip


def iddpm_lsun() -> Spec:
  """Returns improved DDPM's network for LSUN."""
  return iddpm(
    256, blocks=2, attention=heads(1), attention_resolutions=(16,),
    block=dict(_block(), scale_shift=False),
  )  # fmt: skip


def heads(count: int) -> Spec:
  """Returns attention of a number of heads, not of heads of 64 channels."""
  return dict(partial='networks.AttentionBlock', heads=count)


def _adm(size: int, channels: int, blocks: int) -> Spec:
  return dict(
    _trunk(size, channels, blocks), attention_resolutions=(32, 16, 8),
    attention=dict(partial='networks.AttentionBlock', head_channels=64),
    block=_block(), down=_resampling('networks.average_down'),
    dtype=dict(ref='jax.numpy.bfloat16'),
  )  # fmt: skip


def _trunk(size: int, channels: int, blocks: int) -> Spec:
  multipliers = MULTIPLIERS[size]
  return dict(
    channels=channels, stem_channels=round(multipliers[0] * channels),
    multipliers=multipliers, blocks_per_level=blocks, dropout=0.0,
    skip_rescale=False,
    encoding=dict(partial='networks.Positional', cos_first=True,
                  endpoint=False),
    norm=dict(partial='networks.GroupNorm', min_channels=1, epsilon=1e-5),
  )  # fmt: skip


def _block(**fields: Any) -> Spec:
  return dict(
    partial='networks.ResidualBlock', scale_shift=True, bare_shortcut=True,
    **fields,
  )  # fmt: skip


def _resampling(name: str) -> Spec:
  return _block(resampling=dict(ref=name))


def linear(levels: int = LEVELS) -> Spec:
  """Returns linear betas, of the same noise whatever the number of levels."""
  scale = LEVELS / levels
  return dict(
    type='processes.LinearBetas', levels=levels, beta_min=1e-4 * scale,
    beta_max=0.02 * scale,
  )  # fmt: skip


def cosine(levels: int = LEVELS) -> Spec:
  """Returns the cosine schedule."""
  return dict(type='processes.CosineBetas', levels=levels)


def hybrid(network: Spec, process: Spec, *, rescaled: bool = False) -> Spec:
  """Returns L_hybrid, by which the variance is learned too.

  Args:
    network: with twice the channels of images in its output.
    process: of levels.
    rescaled: the network sees levels out of 1,000, and the bound counts 0.001,
      however many levels there are: the defaults of improved DDPM's code.
  """
  levels = process['levels']
  factor = float(LEVELS if rescaled else levels)
  return dict(
    type='objectives.Hybrid',
    bound_weight=1 / factor,
    network=network,
    process=process,
    target=dict(type='denoising.Noise'),
    inputs=dict(
      type='denoising.InputMap',
      noise=dict(
        type='denoising.Linear', factor=factor, offset=-factor / levels
      ),
    ),
    times=dict(type='objectives.LevelTimes'),
  )


def bound(network: Spec, process: Spec) -> Spec:
  """Returns L_vlb, at levels that are drawn by their losses."""
  return dict(
    hybrid(network, process, rescaled=True), type='objectives.ImportanceHybrid',
    simple_weight=0.0, bound_weight=1.0, detached=False,
  )  # fmt: skip


def simple(network: Spec, process: Spec) -> Spec:
  """Returns L_simple, by which no variance is learned."""
  network = dict(network, out_channels=3)
  objective = hybrid(network, process, rescaled=True)
  del objective['bound_weight']
  return dict(objective, type='objectives.Denoising')


def upsampling(objective: Spec) -> Spec:
  """Returns the objective of a network that enlarges images four times."""
  return dict(
    objective, network=dict(objective['network'], low_res=True),
    low_res=dict(type='denoising.AveragePool', factor=4),
  )  # fmt: skip


def imagenet(size: int, batch_size: int = 256, *, flip: bool = True) -> Spec:
  """Returns ImageNet by ADM's central crop."""
  source = dict(
    type='data.Tfds', name='imagenet2012', split='train', size=size
  )
  return pipeline(source, batch_size, flip=flip)


def downsampled(batch_size: int) -> Spec:
  """Returns van den Oord's ImageNet of 64 x 64 pixels, without labels."""
  source = dict(
    type='data.Tfds', name='downsampled_imagenet/64x64', split='train',
    label_key=None,
  )  # fmt: skip
  return pipeline(source, batch_size, flip=False)


def cifar10() -> Spec:
  """Returns CIFAR-10, never mirrored, as improved DDPM has it."""
  source = dict(
    type='data.CifarArchive', path='data/cifar-10-python.tar.gz',
    split='train',
  )  # fmt: skip
  return pipeline(source, 128, flip=False)


def pipeline(source: Spec, batch_size: int, *, flip: bool) -> Spec:
  """Returns batches of a source, half of their images mirrored or none."""
  batches = dict(type='data.Pipeline', source=source, batch_size=batch_size)
  mirrored = dict(flip=dict(type='data.Flip'), order=('flip',))
  return dict(batches, transforms=mirrored) if flip else batches


def experiment(
  objective: Spec,
  data: Spec,
  steps: int,
  *,
  rate: float = 1e-4,
  evaluations: int = 250,
) -> config_dict.ConfigDict:
  """Returns a whole config.

  Args:
    objective: what is trained.
    data: what is modelled.
    steps: of training.
    rate: the learning rate.
    evaluations: of ancestral sampling; where no variance is learned, its large
      one.
  """
  config = _run(objective, data, steps, parts.constant(rate), average=0.9999)
  config.sampler = dict(
    type='sampling.FixedGrid',
    solver=dict(type='sampling.DDIM', eta=1.0, spread=1.0),
    grid=dict(type='sampling.Levels', steps=evaluations),
  )
  if 'low_res' not in objective:  # a grid has nothing to enlarge
    config.hooks = parts.sample_grids(config.sampler, every=50_000)
  return config


def classifier(
  size: int, process: Spec, blocks: int = 2
) -> config_dict.ConfigDict:
  """Returns the whole config of a classifier of noisy ImageNet images.

  Steps, rate and decay are those that the authors gave for 128 pixels. Nothing
  is averaged over steps.

  Args:
    size: of the images.
    process: of levels, that of the model which it leads.
    blocks: per level.
  """
  steps = 300_000
  objective = dict(
    type='objectives.Classifier', network=encoder(size, blocks),
    process=process,
    inputs=hybrid({}, process)['inputs'],
    times=dict(type='objectives.LevelTimes'),
  )  # fmt: skip
  data = imagenet(-(-size * 5 // 4))
  crop = dict(type='data.ScaledCrop', size=size, least=0.8)
  data['transforms'] = dict(data['transforms'], crop=crop,
                            order=('crop', 'flip'))  # fmt: skip
  fall = dict(
    type='optax.linear_schedule', init_value=3e-4, end_value=0.0,
    transition_steps=steps,
  )  # fmt: skip
  config = _run(objective, data, steps, fall, average=0.0)
  config.optimiser.weight_decay = 0.05
  return config


def _run(
  objective: Spec, data: Spec, steps: int, schedule: Spec, average: float
) -> config_dict.ConfigDict:
  config = config_dict.ConfigDict()
  config.objective = objective
  config.data = data
  config.steps = steps
  config.optimiser = parts.adam(schedule, clip_norm=None)
  config.ema = dict(main=dict(type='training.ConstantEMA', rate=average))
  config.checkpoints = parts.checkpoints(every=10_000, keep_every=50_000)
  return config
