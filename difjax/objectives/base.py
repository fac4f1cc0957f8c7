"""What the one training loop asks of an objective.

An objective is a frozen, hashable value that knows how to make parameters and
how to score them on a batch. Diffusion models, classifiers and autoencoders
are objectives; none of them brings a loop of its own.
"""

from __future__ import annotations

import abc
from typing import ClassVar, Protocol

import jax

from difjax.denoising import prediction
from difjax.processes import base as processes
from difjax.typing import Array, Batch, Cond, Key, Metrics, Params, PyTree


class Objective(abc.ABC):
  """A loss over parameters.

  Attributes:
    evaluations: of networks, in one call of the denoiser if there is one.
    null_label: whether the denoiser was trained without labels too, so that it
      knows what the label -1 stands for.
  """

  evaluations: ClassVar[int] = 1
  null_label: ClassVar[bool] = False

  @abc.abstractmethod
  def init(self, key: Key, batch: Batch) -> Params:
    """Makes parameters for batches like `batch`."""

  def init_aux(self) -> PyTree:
    """Makes the state without gradients, such as loss-aware sampling's."""
    return ()

  @abc.abstractmethod
  def loss(
    self,
    params: Params,
    aux: PyTree,
    frozen: PyTree,
    batch: Batch,
    key: Key,
    *,
    step: Array,
    ema: dict[str, Params],
  ) -> tuple[Array, tuple[Metrics, PyTree]]:
    """Scores parameters on a batch.

    Args:
      params: what is trained.
      aux: the state without gradients.
      frozen: parameters of networks that are used but not trained.
      batch: image [B, H, W, C] in [-1, 1], label [B], ...
      key: this step's randomness.
      step: the number of steps done.
      ema: the averages of the parameters, by name.

    Returns:
      The scalar loss and (metrics to log, next aux). A metric is a scalar, or
      [2, k] for k means over parts of the batch, which may be empty: sums over
      them, and how many images each has.
    """

  def gradients(
    self,
    params: Params,
    aux: PyTree,
    frozen: PyTree,
    batch: Batch,
    key: Key,
    *,
    step: Array,
    ema: dict[str, Params],
  ) -> tuple[tuple[Array, tuple[Metrics, PyTree]], Params]:
    """Returns the loss as `loss` does, and its gradients."""
    function = jax.value_and_grad(self.loss, has_aux=True)
    return function(params, aux, frozen, batch, key, step=step, ema=ema)


class Generative(Protocol):
  """An objective whose parameters can be sampled from.

  Attributes:
    process: how data become noise.
    evaluations: as of an `Objective`.
    null_label: likewise.
  """

  process: processes.Process
  evaluations: int
  null_label: bool

  def denoiser(self, params: Params, cond: Cond = None) -> prediction.Denoiser:
    """Returns the denoiser under a condition."""
