"""Controlled generation with a trained model: guided to classes, or restoring.

A model that is led is a model again: `Guided` and `Restored` have a process and
a denoiser as every generative objective does, so samplers, blocks and keys are
those of `evaluation.samples`. What leads it (a classifier's parameters, a
measurement) is a part of the parameters, and not of the compiled program.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from difjax import errors
from difjax.data import device, images
from difjax.data import source as sources
from difjax.denoising import guidance, prediction, restoration
from difjax.evaluation import guided, trained
from difjax.objectives import classifier
from difjax.typing import Array, Cond, Params

Method = Callable[..., prediction.Denoiser]
"""(denoiser, process, operator, y) -> denoiser, as in denoising.restoration."""

MATCHED: Method = functools.partial(restoration.moment_matched, bound=1.0)
"""Moment matching, for images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guided(guided.Around):
  """A model that a classifier leads to `cond['label']`.

  Its parameters are {'model': ..., 'classifier': ...}.

  Attributes:
    classifier: what leads it.
    scale: how strongly.
    labelled: whether the model sees the label too.
  """

  classifier: classifier.Classifier
  scale: float
  labelled: bool

  def denoiser(self, params: Params, cond: Cond = None) -> prediction.Denoiser:
    """Returns the denoiser under a condition."""
    plain = self.model.denoiser(
      params['model'], cond if self.labelled else None
    )
    if not cond or 'label' not in cond:
      return plain
    log_prob = guidance.transported(
      self.classifier.log_prob(params['classifier']),
      self.classifier.process,
      self.process,
    )
    return guidance.classifier_guided(
      plain, self.process, log_prob, cond['label'], self.scale
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restored(guided.Around):
  """A model whose images agree with a measurement.

  Its parameters are {'model': ..., 'measured': [1, ...]}.

  Attributes:
    operator: what was measured of them.
    method: how they are brought to agree.
  """

  operator: restoration.Operator
  method: Method

  def denoiser(self, params: Params, cond: Cond = None) -> prediction.Denoiser:
    """Returns the denoiser under a condition."""
    plain = self.model.denoiser(params['model'], cond)
    return self.method(plain, self.process, self.operator, params['measured'])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierGuidance:
  """Leads a model by the classifier of another run.

  Attributes:
    workdir: of the classifier's run.
    scale: how strongly; 1 is Bayes' rule.
    ema: which average of the classifier's parameters.
    labelled: whether a model of classes sees the label too.
  """

  workdir: str
  scale: float = 1.0
  ema: str = 'main'
  labelled: bool = True
  to_classes: ClassVar[bool] = True

  def __call__(
    self, model: trained.Trained, trust: tuple[str, ...] = ()
  ) -> trained.Trained:
    """Returns the model that is led, which has the classifier's classes.

    Args:
      model: what is led.
      trust: packages whose names the classifier's saved config may use.

    Raises:
      ConfigError: the run is of no classifier, or of other images or classes.
      CheckpointError: there is no checkpoint that can be read.
    """
    other = trained.load(
      pathlib.Path(self.workdir), ema=self.ema, trust=trust, needs='log_prob'
    )
    if other.shape != model.shape:
      raise errors.ConfigError(
        f'{self.workdir} classifies images of {guided.size_text(other.shape)}, '
        f'the model draws {guided.size_text(model.shape)}: give a classifier '
        'of the same size'
      )
    labelled = self.labelled and model.num_classes > 0
    if labelled and model.num_classes != other.num_classes:
      raise errors.ConfigError(
        f'{self.workdir} knows {other.num_classes} classes, the model '
        f'{model.num_classes}: add --guidance.labelled=false'
      )
    objective = Guided(
      model=model.objective, classifier=other.objective, scale=self.scale,
      labelled=labelled,
    )  # fmt: skip
    return dataclasses.replace(
      model, objective=objective, num_classes=other.num_classes,
      class_names=other.class_names,
      params={'model': model.params, 'classifier': other.params},
    )  # fmt: skip


class Led(NamedTuple):
  """A model that is led, and how to sample from it.

  Attributes:
    model: what draws the images.
    mean: of x at t_max, to broadcast over [B, H, W, C].
    picture: uint8 [H, W, C], the measurement to look at, if there is one.
  """

  model: trained.Trained
  mean: Array = 0.0
  picture: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restoration:
  """Draws images that agree with a measurement of a given one.

  Attributes:
    operator: what is known of the image.
    image: file of the image, or of the measurement itself where that is an
      image of another size, such as a small one.
    source: where the image is taken from if no file is given.
    index: which image of the source.
    method: how; `denoising.projected` is the other one.
  """

  operator: restoration.Operator = restoration.Window()
  image: str | None = None
  source: sources.Source | None = None
  index: int = 0
  method: Method = MATCHED

  def __call__(
    self, model: trained.Trained, *, labelled: bool = False
  ) -> Led:
    """Returns the model that restores.

    Args:
      model: what draws the images.
      labelled: whether it is told classes; else it draws of any class.

    Raises:
      ConfigError: no image is given, or one that does not fit.
      DataError: the file is no image.
    """
    y = measured(self.operator, self._image(model), model.shape)
    told = model if labelled else dataclasses.replace(model, num_classes=0)
    return restoring(told, self.operator, self.method, y)

  def _image(self, model: trained.Trained) -> np.ndarray:
    if self.image is not None:
      data = pathlib.Path(self.image).read_bytes()
      return images.decode(data, self.image, model.shape[-1])
    if self.source is None:
      raise errors.ConfigError(
        'restore needs an image: add --restore.image=FILE or '
        '--restore.source.type=...'
      )
    if not 0 <= self.index < len(self.source):
      raise errors.ConfigError(
        f'restore.index = {self.index}: the source has {len(self.source)}'
      )
    return self.source[self.index]['image']


def lead(
  model: trained.Trained,
  guides: Sequence[guided.Guide],
  restore: Restoration | None,
  *,
  labelled: bool,
  trust: tuple[str, ...] = (),
) -> Led:
  """Returns the model under guides, a measurement, both or none.

  Args:
    model: what is led.
    guides: applied in this order.
    restore: to a measurement.
    labelled: whether classes are asked for; a restoration is else told none.
    trust: packages whose names the saved configs of guides may use.

  Raises:
    ConfigError: what leads does not fit the model.
  """
  for guide in guides:
    model = guide(model, trust)
  if restore is None:
    return Led(model)
  told = labelled or any(guide.to_classes for guide in guides)
  return restore(model, labelled=told)


def mask(*, file: str) -> restoration.Mask:
  """Returns the mask that a picture draws: white is known, black is not."""
  pixels = images.decode(pathlib.Path(file).read_bytes(), file, 1)
  return restoration.Mask(known=(pixels >= 128).astype(np.float32))


def measured(
  operator: restoration.Operator, image: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
  """Returns y [1, ...] in the range of images, of an image or as it is.

  Args:
    operator: what is known of an image.
    image: uint8, of `shape` or of the shape that measurements have.
    shape: (H, W, C) of the model's images.

  Raises:
    ConfigError: the operator is not for such images, or the image's shape is
      neither.
  """
  kind = type(operator).__name__
  if not hasattr(operator, 'measure'):
    raise errors.ConfigError(
      f'restore.operator: {kind} measures nothing; write '
      '--restore.operator.type=denoising.Window, Grey or AveragePool'
    )
  if not operator.fits(shape):
    raise errors.ConfigError(
      f'restore.operator: {kind} has no use for images of '
      f'{guided.size_text(shape)}'
    )
  whole = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  try:
    small = jax.eval_shape(operator.measure, whole).shape[1:]
  except (TypeError, ValueError) as error:
    raise errors.ConfigError(
      f'restore.operator: {kind} does not fit images of '
      f'{guided.size_text(shape)}'
    ) from error
  x = device.to_unit_range(np.asarray(image)[None])
  if image.shape == tuple(shape):
    return np.asarray(operator.measure(jnp.asarray(x)))
  if image.shape == small:
    return x
  raise errors.ConfigError(
    f'the image to restore is {guided.size_text(image.shape)}: the model '
    f'draws {guided.size_text(shape)}, of which {kind} knows '
    f'{guided.size_text(small)}'
  )


def restoring(
  model: trained.Trained,
  operator: restoration.Operator,
  method: Method,
  y: Array,
) -> Led:
  """Returns the model that draws images of a measurement y [1, ...]."""
  objective = Restored(model=model.objective, operator=operator, method=method)
  like = jnp.zeros((1, *model.shape), jnp.float32)
  y = jnp.asarray(y)
  led = dataclasses.replace(
    model, objective=objective, params={'model': model.params, 'measured': y}
  )
  picture = restoration.pseudo_inverse(operator, y, like)[0]
  return Led(
    model=led,
    mean=restoration.start(objective.process, operator, y, like),
    picture=device.to_bytes(np.asarray(picture)),
  )
