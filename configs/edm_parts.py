"""Parts of EDM's experiments: plain data, no jax.

Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative
Models (2206.00364), tables 1, 2 and 7. Their "VP" and "VE" are networks, those
of score SDE, and no processes: all are trained by EDM's objective.
"""

from typing import Any

from ml_collections import config_dict

from configs import adm_parts, parts

Spec = dict[str, Any]

LABELS = 9  # of the augmentation
RAMP = 10_000_000  # images of the learning rate's ramp


def ddpmpp(**fields: Any) -> Spec:
  """Returns the paper's "VP" network for CIFAR-10: DDPM++."""
  return dict(
    type='networks.UNet',
    **{'multipliers': (2, 2, 2), 'dropout': 0.13, **fields, 'within': within(),
       'num_classes': 0},
  )  # fmt: skip


def ncsnpp(**fields: Any) -> Spec:
  """Returns the paper's "VE" network for CIFAR-10: NCSN++."""
  block = lambda resampling: dict(
    partial='networks.ResidualBlock', resampling=dict(type=resampling)
  )
  return ddpmpp(
    encoding=dict(partial='networks.Fourier', scale=16.0, log=False),
    down=block('networks.FIRDown'), up=block('networks.FIRUp'),
    input_residual=dict(partial='networks.ConvDown', kernel=(1, 3, 3, 1)),
    **fields,
  )  # fmt: skip


def within(classes: int = 0) -> Spec:
  """Returns what the networks see of labels and of the augmentation."""
  return dict(
    partial='networks.VectorCondition', num_classes=classes, augment_dim=LABELS
  )


def conditional(network: Spec, classes: int) -> Spec:
  """Returns a network that sees labels."""
  return dict(network, within=within(classes))


def adm() -> Spec:
  """Returns ADM's network for ImageNet at 64 x 64 pixels."""
  return adm_parts.adm(
    64, channels=192, blocks=3, dropout=0.1, out_channels=3
  )


def cifar10(network: Spec) -> config_dict.ConfigDict:
  """Returns an experiment on CIFAR-10."""
  source = dict(
    type='data.CifarArchive', path='data/cifar-10-python.tar.gz',
    split='train',
  )  # fmt: skip
  return experiment(
    network, source, size=32, batch_size=512, rate=1e-3, augment=0.12,
    sampler=parts.heun(steps=18),
  )  # fmt: skip


def faces(
  network: Spec, path: str, dropout: float
) -> config_dict.ConfigDict:
  """Returns an experiment on 64 x 64 pixels of FFHQ or AFHQv2."""
  network = dict(network, multipliers=(1, 2, 2, 2), dropout=dropout)
  source = dict(type='data.ImageFolder', path=path, size=64, labels=False)
  return experiment(
    network, source, size=64, batch_size=256, rate=2e-4, augment=0.15,
    sampler=parts.heun(steps=40),
  )  # fmt: skip


def churned(steps: int) -> Spec:
  """Returns the stochastic sampler with its settings for ImageNet."""
  return dict(
    type='sampling.FixedGrid',
    solver=dict(
      type='sampling.Churned', solver=dict(type='sampling.Heun'), churn=40.0,
      low=0.05, high=50.0, noise_scale=1.003,
    ),
    grid=dict(type='sampling.Karras', steps=steps, rho=7.0),
  )  # fmt: skip


def experiment(
  network: Spec,
  source: Spec,
  size: int,
  batch_size: int,
  rate: float,
  sampler: Spec,
  *,
  augment: float = 0.0,
  images: int = 200_000_000,
  half_life: int = 500_000,
) -> config_dict.ConfigDict:
  """Returns a whole config.

  Args:
    network: what is trained.
    source: the images.
    size: their side.
    batch_size: of training.
    rate: the learning rate after its ramp.
    sampler: the paper's for these data.
    augment: probability of the augmentation's parts; 0 for none.
    images: seen in training.
    half_life: of the average, in images.
  """
  every = 2_500_000 // batch_size
  config = config_dict.ConfigDict()
  config.objective = parts.edm(network)
  config.data = dict(
    type='data.Pipeline', source=source, batch_size=batch_size
  )
  config.steps = images // batch_size
  # The official loss sums over an image, ours averages: with Adam's epsilon
  # over as many numbers the steps are the same.
  config.optimiser = parts.adam(
    parts.warmup(rate, steps=round(RAMP / batch_size)), clip_norm=None,
    eps=1e-8 / (3 * size**2),
  )  # fmt: skip
  config.ema = dict(
    main=dict(
      type='training.HalfLifeEMA', half_life=half_life / batch_size, ramp=0.05
    )
  )
  if augment:
    config.augment = dict(type='training.Augmentation', probability=augment)
  config.sampler = sampler
  config.hooks = parts.sample_grids(sampler, every=4 * every)
  config.checkpoints = parts.checkpoints(every=every, keep_every=4 * every)
  return config


def published(
  fid: float,
  evaluations: int,
  *,
  spread: tuple[float, float] | None = None,
  source: str = 'Karras et al. 2022, table 2: least of three sets of 50,000',
) -> Spec:
  """Returns a figure of the paper on CIFAR-10 with its protocol.

  Args:
    fid: the figure.
    evaluations: of the network, for an image.
    spread: least and most that those who ran it again report.
    source: where that is stated.
  """
  return dict(
    type='evaluation.Published', figures=dict(fid=fid),
    spread={} if spread is None else dict(fid=spread), evaluations=evaluations,
    reference='CIFAR-10, training images', reference_count=50_000,
    source=source,
  )  # fmt: skip
