"""Checkpoints: orbax, with the checks that it leaves to others.

Orbax writes asynchronously and commits by a rename, but it restores a flipped
bit without a word, casts to another type as silently, and knows no fallback. So
each committed step gets a manifest of its files' sha256, and `restore` walks
from the newest step to the oldest: a step that does not verify is set aside as
`STEP.corrupt` by name, never lost. A step that verifies but holds other arrays
than this model's is refused by the path, type and shape of the first of them.

Every part of the state is an item of its own: `params` and each average can be
read without the rest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import pathlib
import shutil
from collections.abc import Callable
from concurrent import futures
from typing import Any

import jax
import orbax.checkpoint as ocp

from difjax import errors, pytree
from difjax.training import state as states
from difjax.typing import PyTree

_LOG = logging.getLogger(__name__)
_MANIFEST = 'difjax_manifest.json'
_MARGIN = 2**20  # bytes of metadata beside the numbers, and to spare
_AVERAGE = 'ema.'  # and its name: the item of an average


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoints:
  """Which steps are saved and kept.

  Attributes:
    every: steps between two saves; the last step is always saved.
    keep_latest: how many of the newest are kept.
    keep_every: steps that are multiples of this are kept for good; None: none.
  """

  every: int = 5_000
  keep_latest: int = 2
  keep_every: int | None = None

  def policy(self) -> ocp.checkpoint_managers.PreservationPolicy:
    """Returns orbax's policy; a metric never deletes the newest step."""
    policies = ocp.checkpoint_managers
    kept = [policies.LatestN(self.keep_latest)]
    if self.keep_every:
      kept.append(policies.EveryNSteps(self.keep_every))
    return policies.AnyPreservationPolicy(kept)


class Checkpointer:
  """Saves and restores the states of one work directory."""

  def __init__(
    self,
    workdir: pathlib.Path,
    options: Checkpoints,
    folder: str = 'checkpoints',
  ) -> None:
    self._directory = pathlib.Path(workdir).absolute() / folder
    self._sealer = futures.ThreadPoolExecutor(1)
    self._sealing: list[futures.Future[None]] = []
    self._manager = ocp.CheckpointManager(
      self._directory,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=options.policy(),
        cleanup_tmp_directories=True,
        create=True,
      ),
    )

  def steps(self) -> list[int]:
    """Lists the committed steps, oldest first."""
    return sorted(self._manager.all_steps())

  def save(self, state: states.TrainState, meta: dict[str, Any]) -> None:
    """Starts to save a state; it may be donated as soon as this returns.

    Raises:
      CheckpointError: this or an earlier save could not be written.
    """
    self.save_items(_split(state), meta)

  def save_items(self, items: dict[str, PyTree], meta: dict[str, Any]) -> None:
    """Starts to save trees by name; see `save`."""
    self._check_space(items)
    step = int(meta['step'])
    parts = {k: ocp.args.StandardSave(v) for k, v in items.items()}
    jsons = {'meta': meta, 'schema': _schema(items)}
    parts |= {k: ocp.args.JsonSave(v) for k, v in jsons.items()}
    args = ocp.args.Composite(**parts)
    self._guard(lambda: self._manager.save(step, args=args))
    committed = [s for s in self.steps() if s != step]
    self._sealing += [self._sealer.submit(self._seal, s) for s in committed]

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
    found = self._newest(_split(abstract))
    if found is None:
      return None
    parts, meta = found
    ema = {name: parts[_AVERAGE + name] for name in abstract.ema}
    state = states.TrainState(params=parts['params'], ema=ema, **parts['rest'])
    return state, meta

  def restore_ema(
    self, name: str, abstract: PyTree
  ) -> tuple[PyTree, dict[str, Any]]:
    """Restores one average of the newest step that verifies, or `params`.

    Args:
      name: of the average; '' for the raw parameters.
      abstract: ShapeDtypeStructs of the parameters.

    Raises:
      CheckpointError: there is no such step or average.
    """
    item = _AVERAGE + name if name else 'params'
    found = self._newest({item: abstract})
    if found is None:
      raise errors.CheckpointError(
        f'{self._directory} holds no checkpoint: train first'
      )
    parts, meta = found
    return parts[item], meta

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
    fault = self._fault(step)
    if fault is not None:
      raise errors.CheckpointError(f'{self._directory / str(step)}: {fault}')
    return self._read(step, items)[0]

  def close(self) -> None:
    """Waits for what is being written.

    Raises:
      CheckpointError: the last save could not be written.
    """
    try:
      self._guard(self._manager.wait_until_finished)
      last = [self._sealer.submit(self._seal, s) for s in self.steps()]
      for task in self._sealing + last:
        task.result()
    finally:
      self._sealer.shutdown()
      self._guard(self._manager.close)

  def _check_space(self, state: PyTree) -> None:
    """Fails before orbax begins: it leaves a torn step on a full disk."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + _MARGIN
    free = shutil.disk_usage(self._directory).free
    if free < needed:
      raise errors.CheckpointError(
        f'the disk is full: a checkpoint in {self._directory} needs '
        f'{needed / 2**20:,.0f} MiB of {free / 2**20:,.0f} that are free; '
        'earlier checkpoints are intact, and the same command resumes'
      )

  def _guard(self, action: Callable[[], object]) -> None:
    """Runs an action of orbax; its pages of errors become one line."""
    try:
      action()
    except Exception as error:  # orbax and tensorstore raise bare classes
      text = str(error)
      full = 'No space left' in text or 'RESOURCE_EXHAUSTED' in text
      reason = 'the disk is full' if full else text.splitlines()[0][:200]
      raise errors.CheckpointError(
        f'a checkpoint in {self._directory} could not be written: {reason}; '
        'earlier checkpoints are intact, and the same command resumes'
      ) from error

  def _newest(
    self, items: dict[str, PyTree]
  ) -> tuple[dict[str, PyTree], dict[str, Any]] | None:
    for step in reversed(self.steps()):
      fault = self._fault(step)
      if fault is None:
        try:
          return self._read(step, items)
        except errors.CheckpointError:  # another model: not corruption
          raise
        except Exception as error:  # orbax and tensorstore raise bare classes
          fault = str(error).splitlines()[0][:200]
      self._set_aside(step, fault)
    if lost := sorted(path.name for path in self._directory.glob('*.corrupt*')):
      raise errors.CheckpointError(
        f'no checkpoint in {self._directory} can be read, and {lost} were set '
        'aside: mend them, or delete them to start again'
      )
    return None

  def _read(
    self, step: int, items: dict[str, PyTree]
  ) -> tuple[dict[str, PyTree], dict[str, Any]]:
    args = {k: ocp.args.JsonRestore() for k in ('meta', 'schema')}
    found = self._manager.restore(step, args=ocp.args.Composite(**args))
    misfit = _misfit(found['schema'], _schema(items))
    if misfit:
      raise errors.CheckpointError(
        f'checkpoint {step} in {self._directory} does not fit this model: '
        f'{misfit}'
      )
    args = {k: ocp.args.StandardRestore(v) for k, v in items.items()}
    parts = self._manager.restore(step, args=ocp.args.Composite(**args))
    return dict(parts.items()), found['meta']

  def _set_aside(self, step: int, fault: str) -> None:
    earlier = len(list(self._directory.glob(f'{step}.corrupt*')))
    name = f'{step}.corrupt' + (f'.{earlier}' if earlier else '')
    (self._directory / str(step)).rename(self._directory / name)
    self._manager.reload()
    _LOG.error('checkpoint %d set aside: %s', step, fault)

  def _seal(self, step: int) -> None:
    folder = self._directory / str(step)
    if jax.process_index() or (folder / _MANIFEST).exists():
      return
    try:
      digests = {
        str(file.relative_to(folder)): _sha256(file)
        for file in sorted(folder.rglob('*'))
        if file.is_file() and not file.name.startswith(_MANIFEST)
      }
      partial = folder / f'{_MANIFEST}.partial'
      partial.write_text(json.dumps(digests, indent=1))
      partial.rename(folder / _MANIFEST)
    except FileNotFoundError:  # an old step, deleted meanwhile
      return

  def _fault(self, step: int) -> str | None:
    """Says what is wrong with a step, None if nothing is known to be."""
    folder = self._directory / str(step)
    manifest = folder / _MANIFEST
    if not manifest.exists():  # stopped between the commit and the seal
      return None
    try:
      digests = json.loads(manifest.read_text())
    except ValueError:
      return f'{_MANIFEST} is no JSON'
    for name, digest in digests.items():
      file = folder / name
      if not file.exists():
        return f'{name} is missing'
      if _sha256(file) != digest:
        return f'{name} has changed since it was written'
    return None


def _split(state: states.TrainState) -> dict[str, PyTree]:
  fields = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
  params, averages = fields.pop('params'), fields.pop('ema')
  ema = {_AVERAGE + name: tree for name, tree in averages.items()}
  return {'params': params, **ema, 'rest': fields}


def _schema(items: dict[str, PyTree]) -> dict[str, dict[str, str]]:
  """Lists type and shape of every array by its path, for every item."""
  spell = lambda leaf: f'{leaf.dtype}{list(leaf.shape)}'
  return {
    item: {path: spell(leaf) for path, leaf in pytree.named_leaves(tree)}
    for item, tree in items.items()
  }


def _misfit(
  saved: dict[str, dict[str, str]], wanted: dict[str, dict[str, str]]
) -> str | None:
  """Says where the wanted items differ from the saved ones, None if nowhere."""
  for item, here in wanted.items():
    there = saved.get(item, {})
    for path in sorted({*there, *here}):
      old, new = there.get(path, 'absent'), here.get(path, 'absent')
      if old != new:
        return f'{item}/{path} is {old} there and {new} here'
  return None


def _sha256(file: pathlib.Path) -> str:
  with file.open('rb') as stream:
    return hashlib.file_digest(stream, 'sha256').hexdigest()
