"""Guidance of a trained model, from what a config or flags say.

What is guided is a model again: it has a process and a denoiser, so that
samplers, blocks and keys are those of `evaluation.samples`, and guides apply
on top of each other. A scale that is a number is one of the parameters, as
those of a second model are: a sweep over scales compiles once.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import ClassVar, Protocol

import jax.numpy as jnp

from difjax import errors
from difjax.denoising import contrast, guidance, prediction, thresholding
from difjax.evaluation import trained
from difjax.objectives import base
from difjax.processes import base as processes
from difjax.typing import Cond, Params, Shape


class Guide(Protocol):
  """Leads a model.

  Attributes:
    to_classes: whether it needs a class for every image.
  """

  to_classes: ClassVar[bool]

  def __call__(
    self, model: trained.Trained, trust: tuple[str, ...] = ()
  ) -> trained.Trained:
    """Returns the model that is led.

    Args:
      model: what is led.
      trust: packages whose names a second run's saved config may use.

    Raises:
      ConfigError: the guide does not fit the model.
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Around:
  """A model made of another, whose parameters are params['model'].

  Attributes:
    model: the other.
  """

  model: base.Generative

  @property
  def process(self) -> processes.Process:
    """That of the model."""
    return self.model.process

  @property
  def evaluations(self) -> int:
    """Those of the model."""
    return self.model.evaluations

  @property
  def null_label(self) -> bool:
    """That of the model."""
    return self.model.null_label


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Contrasted(Around):
  """A model that leaves a weaker one behind.

  Attributes:
    rule: what is made of the two.
    schedule: the scale by time; None: the number params['scale'].
    interval: noise levels at which it is led.
  """

  rule: contrast.Rule
  schedule: guidance.Scale | None
  interval: tuple[float, float] | None

  def _scale(self, params: Params) -> guidance.Scale:
    return params['scale'] if self.schedule is None else self.schedule

  def _limited(
    self, guided: prediction.Denoiser, plain: prediction.Denoiser
  ) -> prediction.Denoiser:
    if self.interval is None:
      return guided
    low, high = self.interval
    return contrast.interval_limited(guided, plain, self.process, low, high)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FromNoLabel(_Contrasted):
  together: bool

  @property
  def evaluations(self) -> int:
    """Two of the model; outside the interval only one is made."""
    return 2 * self.model.evaluations

  def denoiser(self, params: Params, cond: Cond = None) -> prediction.Denoiser:
    """Returns the denoiser under a condition."""
    branch = lambda cond: self.model.denoiser(params['model'], cond)
    if not cond or 'label' not in cond:
      return branch(cond)
    guided = contrast.classifier_free(
      branch, self.process, cond, self._scale(params), rule=self.rule,
      together=self.together,
    )  # fmt: skip
    return self._limited(guided, branch(cond))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _FromWeaker(_Contrasted):
  weaker: base.Generative
  labelled: bool

  @property
  def evaluations(self) -> int:
    """Of both models; outside the interval only one is evaluated."""
    return self.model.evaluations + self.weaker.evaluations

  def denoiser(self, params: Params, cond: Cond = None) -> prediction.Denoiser:
    """Returns the denoiser under a condition."""
    plain = self.model.denoiser(params['model'], cond)
    weaker = guidance.transported(
      self.weaker.denoiser(params['weaker'], cond if self.labelled else None),
      self.weaker.process,
      self.process,
    )
    guided = contrast.autoguided(
      plain, weaker, self.process, self._scale(params), rule=self.rule
    )
    return self._limited(guided, plain)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Thresholded(Around):
  bound: thresholding.Bound
  consistent: bool

  def denoiser(self, params: Params, cond: Cond = None) -> prediction.Denoiser:
    """Returns the denoiser under a condition."""
    return thresholding.thresholded(
      self.model.denoiser(params['model'], cond), self.process, self.bound,
      consistent=self.consistent,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contrast:
  """What guides by contrast have in common.

  Attributes:
    scale: w; 1 is the model itself. A number, or a function of (process, t)
      such as `denoising.Linear`.
    interval: (low, high), to guide only where low < sigma / alpha <= high.
    rule: `denoising.Extrapolated`, Rescaled or CFGPlusPlus.
  """

  scale: guidance.Scale = 1.5
  interval: tuple[float, float] | None = None
  rule: contrast.Rule = contrast.Extrapolated()

  def __post_init__(self) -> None:
    if not callable(self.scale):
      float(self.scale)
    low, high = self.interval or (0.0, 1.0)
    if not 0 <= low < high:
      raise ValueError(f'interval must be low, high: {low}, {high}')

  @property
  def schedule(self) -> guidance.Scale | None:
    """The scale, if it is a function."""
    return self.scale if callable(self.scale) else None

  @property
  def params(self) -> dict[str, Params]:
    """The scale, if it is a number."""
    return {} if callable(self.scale) else {'scale': jnp.float32(self.scale)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierFree(Contrast):
  """Leads a model of classes away from itself without a class.

  The model has to know what no label is: to be trained with `label_dropout`.

  Attributes:
    together: whether both are evaluated as one batch.
  """

  together: bool = True
  to_classes: ClassVar[bool] = True

  def __call__(
    self, model: trained.Trained, trust: tuple[str, ...] = ()
  ) -> trained.Trained:
    """Returns the model that is led.

    Raises:
      ConfigError: the model knows no classes, or was never without them.
    """
    del trust
    if not model.num_classes:
      raise errors.ConfigError(
        'classifier-free guidance needs a model of classes: this one has none'
      )
    if not model.objective.null_label:
      raise errors.ConfigError(
        'classifier-free guidance needs a model that was trained without '
        'labels too: train it with config.objective.label_dropout=0.1'
      )
    objective = _FromNoLabel(
      model=model.objective, rule=self.rule, schedule=self.schedule,
      interval=self.interval, together=self.together,
    )  # fmt: skip
    params = {'model': model.params, **self.params}
    return dataclasses.replace(model, objective=objective, params=params)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Autoguidance(Contrast):
  """Leads a model away from a weaker one: smaller, or trained for less long.

  Attributes:
    workdir: of the weaker model's run.
    ema: which average of its parameters.
    labelled: whether the weaker model sees the label; without it this is
      classifier-free guidance as well.
  """

  workdir: str
  ema: str = 'main'
  labelled: bool = True
  to_classes: ClassVar[bool] = False

  def __call__(
    self, model: trained.Trained, trust: tuple[str, ...] = ()
  ) -> trained.Trained:
    """Returns the model that is led.

    Args:
      model: what is led.
      trust: packages whose names the weaker model's saved config may use.

    Raises:
      ConfigError: the runs are not of the same kind of images, or classes.
      CheckpointError: there is no checkpoint that can be read.
    """
    weaker = trained.load(
      pathlib.Path(self.workdir), ema=self.ema, trust=trust, needs='denoiser'
    )
    kinds = [(each.shape, each.num_classes) for each in (weaker, model)]
    if kinds[0][: 1 + self.labelled] != kinds[1][: 1 + self.labelled]:
      theirs, ours = (
        f'{size_text(shape)} of {count} classes' for shape, count in kinds
      )
      raise errors.ConfigError(
        f'{self.workdir} draws {theirs}, the model {ours}: '
        'autoguidance needs the same'
      )
    objective = _FromWeaker(
      model=model.objective, weaker=weaker.objective, labelled=self.labelled,
      rule=self.rule, schedule=self.schedule, interval=self.interval,
    )  # fmt: skip
    params = {'model': model.params, 'weaker': weaker.params, **self.params}
    return dataclasses.replace(model, objective=objective, params=params)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold:
  """Keeps what a model predicts in the range of images.

  Attributes:
    bound: `denoising.Clip` or `denoising.Dynamic`.
    consistent: whether eps follows.
  """

  bound: thresholding.Bound = thresholding.Clip()
  consistent: bool = True
  to_classes: ClassVar[bool] = False

  def __call__(
    self, model: trained.Trained, trust: tuple[str, ...] = ()
  ) -> trained.Trained:
    """Returns the model that is kept."""
    del trust
    objective = _Thresholded(
      model=model.objective, bound=self.bound, consistent=self.consistent
    )
    return dataclasses.replace(
      model, objective=objective, params={'model': model.params}
    )


def size_text(shape: Shape) -> str:
  """Returns a shape in words, such as 32x32x3."""
  return 'x'.join(map(str, shape))
