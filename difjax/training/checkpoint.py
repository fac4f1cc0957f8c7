"""Checkpoints: orbax, with the checks that it leaves to others.

Orbax writes asynchronously and commits by a rename, but it restores a flipped
bit without a word, casts to another type as silently, and knows no fallback. So
a step is sealed with a manifest of its files' sha256 before it is committed,
and `restore` walks from the newest step to the oldest: a step that does not
verify is set aside as `STEP.corrupt` by name, never lost. A step that verifies
but holds other arrays than this model's is refused by their paths, types and
shapes.

Process 0 verifies, renames and decides for all. The folder may be one of
`gs://`, which has no renames: there a step counts once orbax's
`commit_success.txt` is in it, and that is written after the manifest too.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from difjax import errors
from difjax.training import distributed, manifest, schema
from difjax.training import state as states
from difjax.typing import PyTree

_LOG = logging.getLogger(__name__)
_MARGIN = 2**20  # bytes of metadata beside the numbers, and to spare
_INTACT = 'earlier checkpoints are intact, and the same command resumes'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoints:
  """Which steps are saved and kept, and where.

  Attributes:
    every: steps between two saves; the last step is always saved.
    minutes: between two saves, if that is sooner; None: by steps alone.
    keep_latest: how many of the newest are kept.
    keep_every: steps that are multiples of this are kept for good; None: none.
    directory: of the checkpoints, such as gs://bucket/run; None: the work
      directory. Everything else stays in the work directory.
  """

  every: int = 5_000
  minutes: float | None = None
  keep_latest: int = 2
  keep_every: int | None = None
  directory: str | None = None

  def policy(self) -> ocp.checkpoint_managers.PreservationPolicy:
    """Returns orbax's policy; a metric never deletes the newest step."""
    policies = ocp.checkpoint_managers
    kept = [policies.LatestN(self.keep_latest)]
    if self.keep_every:
      kept.append(policies.EveryNSteps(self.keep_every))
    return policies.AnyPreservationPolicy(kept)


class Checkpointer:
  """Saves and restores the states of one run."""

  def __init__(
    self,
    workdir: pathlib.Path,
    options: Checkpoints,
    folder: str = 'checkpoints',
    *,
    reading: bool = False,
  ) -> None:
    """Opens the folder of a run's checkpoints.

    Args:
      workdir: of the run.
      options: what is kept, and where.
      folder: in the work directory, or in `options.directory`.
      reading: whether to change nothing there, because a run may be at work:
        what its saves have not committed stays, nothing is set aside.
    """
    place = options.directory or pathlib.Path(workdir).absolute()
    self._directory = epath.Path(place) / folder
    self._keep = options.keep_latest
    self._reading = reading
    self._saving = 0  # the step that is being written, or the last that was
    self._manager = ocp.CheckpointManager(
      self._directory,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=options.policy(),
        cleanup_tmp_directories=not reading,
        create=not reading,
        lightweight_initialize=True,  # a damaged step must not stop the rest
        async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
      ),
    )

  def steps(self) -> list[int]:
    """Lists the steps, oldest first; the last may still be on its way."""
    return sorted(self._manager.all_steps())

  def save(self, state: states.TrainState, meta: dict[str, Any]) -> float:
    """Starts to save a state; it may be donated as soon as this returns.

    One save is under way at a time: this waits for the one before.

    Args:
      state: to be saved; a step that is the newest already is left alone.
      meta: what is to be known of it, its `step` among them.

    Returns:
      Seconds that training stood still, not counting steps under way.

    Raises:
      CheckpointError: this or an earlier save could not be written.
    """
    return self.save_items(schema.split(state), meta)

  def save_items(self, items: dict[str, PyTree], meta: dict[str, Any]) -> float:
    """Starts to save trees by name; see `save`."""
    jax.block_until_ready(items)
    began = time.monotonic()
    step = int(meta['step'])
    self.wait()
    if step != max(self.steps(), default=None):
      self.check_space(items, copies=1)
      parts = {k: ocp.args.StandardSave(v) for k, v in items.items()}
      jsons = {'meta': meta, 'schema': schema.describe(items)}
      parts |= {k: ocp.args.JsonSave(v) for k, v in jsons.items()}
      args = ocp.args.Composite(**parts)
      self._saving = step
      if not self._guard(lambda: self._manager.save(step, args=args)):
        raise errors.CheckpointError(
          f'step {step} cannot be saved in {self._directory}, which has step '
          f'{max(self.steps())}: --resume_step moves later steps aside'
        )
    return time.monotonic() - began

  def restore(
    self, abstract: states.TrainState
  ) -> tuple[states.TrainState, dict[str, Any]] | None:
    """Restores the newest step that verifies.

    Args:
      abstract: ShapeDtypeStructs with the shardings to restore onto.

    Returns:
      (state, meta), or None where nothing was saved.

    Raises:
      CheckpointError: steps were saved but none can be read.
    """
    found = self._newest(schema.split(abstract))
    if found is None:
      return None
    items, meta = found
    return schema.join(items, abstract.ema), meta

  def restore_ema(
    self, name: str, abstract: PyTree, step: int | None = None
  ) -> tuple[PyTree, dict[str, Any]]:
    """Restores one average of the newest step that verifies, or `params`.

    Args:
      name: of the average; '' for the raw parameters.
      abstract: ShapeDtypeStructs of the parameters.
      step: of which, and of no other.

    Raises:
      CheckpointError: there is no such step or average.
    """
    item = schema.item(name)
    found = self._newest({item: abstract}, step)
    if found is None:
      raise errors.CheckpointError(
        f'{self._directory} holds no checkpoint: train first'
      )
    items, meta = found
    return items[item], meta

  def restore_items(
    self, step: int, items: dict[str, PyTree]
  ) -> dict[str, PyTree]:
    """Restores trees by name of one step, and no other in its place.

    Args:
      step: one of `steps`.
      items: ShapeDtypeStructs of the trees.

    Raises:
      CheckpointError: the step does not verify or holds others.
    """
    self._verify(step)
    return self._read(step, items)[0]

  def roll_back(self, step: int) -> None:
    """Makes a step the newest: later ones become `STEP.rolled_back`.

    Raises:
      ConfigError: there is no such step.
      CheckpointError: it does not verify; nothing was moved.
    """
    steps = self.steps()
    if step not in steps:
      raise errors.ConfigError(
        f'--resume_step={step}: {self._directory} has the steps {steps}'
      )
    self._verify(step)
    if distributed.is_first():
      for later in (s for s in steps if s > step):
        name = self._rename(later, 'rolled_back')
        _LOG.warning('checkpoint %d moved aside to %s', later, name)
    distributed.from_first(step)  # no process lists steps before they are moved
    self._manager.reload()

  def check_space(self, state: PyTree, copies: int) -> None:
    """Fails before orbax begins: it leaves a torn step on a full disk.

    Args:
      state: arrays or ShapeDtypeStructs.
      copies: how many are to be written; fewer suffice where there are old
        ones already, which new ones replace.

    Raises:
      CheckpointError: there is no room.
    """
    if '://' in str(self._directory):
      return
    copies = max(1, min(copies, self._keep + 1 - len(self.steps())))
    leaves = jax.tree.leaves(state)
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)
    needed = copies * (size + _MARGIN)
    free = shutil.disk_usage(self._directory).free
    if distributed.from_first(free < needed):  # of one disk, seen by each
      raise errors.CheckpointError(
        f'the disk is full: {copies} checkpoint(s) in {self._directory} need '
        f'{needed / 2**20:,.0f} MiB of {free / 2**20:,.0f} that are free; '
        f'{_INTACT}'
      )

  def wait(self) -> None:
    """Waits for what is being written.

    Raises:
      CheckpointError: it could not be.
    """
    self._guard(self._manager.wait_until_finished)

  def close(self) -> None:
    """Waits for what is being written, and ends.

    Raises:
      CheckpointError: the last save could not be written.
    """
    try:
      self.wait()
    finally:
      self._guard(self._manager.close)

  def _guard(self, action: Callable[[], Any]) -> Any:
    """Runs an action of orbax; its pages of errors become one line."""
    try:
      return action()
    except Exception as error:  # orbax and tensorstore raise bare classes
      text = str(error)
      full = 'No space left' in text or 'RESOURCE_EXHAUSTED' in text
      reason = 'the disk is full' if full else _first_line(error)
      raise errors.CheckpointError(
        f'a checkpoint in {self._directory} could not be written: {reason}; '
        f'{_INTACT}'
      ) from error

  def _newest(
    self, items: dict[str, PyTree], only: int | None = None
  ) -> tuple[dict[str, PyTree], dict[str, Any]] | None:
    if only is not None:
      if only not in self.steps():
        raise errors.CheckpointError(
          f'{self._directory} has no checkpoint {only}, but {self.steps()}'
        )
      self._verify(only)
      return self._read(only, items)
    step = distributed.from_first(self._walk() if distributed.is_first() else 0)
    if not self._reading:
      self._manager.reload()
    if step >= 0:
      return self._read(step, items)
    lost = sorted(path.name for path in self._directory.glob('*.corrupt*'))
    if lost or self.steps():
      raise errors.CheckpointError(
        f'no checkpoint in {self._directory} can be read, and '
        f'{lost or self.steps()} are damaged: mend them, or delete them to '
        'start again'
      )
    return None

  def _walk(self) -> int:
    """Returns the newest step that verifies, -1 if none does."""
    for step in reversed(self.steps()):
      fault = manifest.fault(self._directory / str(step))
      if fault is None:
        return step
      if self._reading:
        _LOG.warning('checkpoint %d left out: %s', step, fault)
      else:
        name = self._rename(step, 'corrupt')
        _LOG.error('checkpoint %d set aside as %s: %s', step, name, fault)
    return -1

  def _verify(self, step: int) -> None:
    folder = self._directory / str(step)
    fault = manifest.fault(folder) if distributed.is_first() else None
    if distributed.from_first(fault is not None):
      raise errors.CheckpointError(f'{folder}: {fault or "it is damaged"}')

  def _read(
    self, step: int, items: dict[str, PyTree]
  ) -> tuple[dict[str, PyTree], dict[str, Any]]:
    args = {k: ocp.args.JsonRestore() for k in ('meta', 'schema')}
    found = self._restored(step, args)
    misfit = schema.misfit(found['schema'], schema.describe(items))
    if misfit:
      raise errors.CheckpointError(
        f'checkpoint {step} in {self._directory} does not fit this model: '
        f'{misfit}'
      )
    args = {k: ocp.args.StandardRestore(v) for k, v in items.items()}
    return self._restored(step, args), found['meta']

  def _restored(self, step: int, args: dict[str, Any]) -> dict[str, Any]:
    """Restores items whose files are known to be whole."""
    try:
      found = self._manager.restore(step, args=ocp.args.Composite(**args))
    except Exception as error:  # orbax and tensorstore raise bare classes
      raise errors.CheckpointError(
        f'checkpoint {step} in {self._directory} is whole but could not be '
        f'read: {_first_line(error)}'
      ) from error
    return dict(found.items())

  def _rename(self, step: int, why: str) -> str:
    """Takes a step's number from its folder; returns the name it has now."""
    earlier = len(list(self._directory.glob(f'{step}.{why}*')))
    name = f'{step}.{why}' + (f'.{earlier}' if earlier else '')
    (self._directory / str(step)).rename(self._directory / name)
    return name

  def _seal(self) -> None:
    """Runs when a step's files are written, before orbax commits it."""
    final = self._directory / str(self._saving)
    partial = epath.Path(f'{final}{ocp.utils.TMP_DIR_SUFFIX}')
    manifest.write(partial if partial.exists() else final)


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:200]
