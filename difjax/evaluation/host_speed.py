"""Benchmarks of what surrounds the devices: reading, saving, starting."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time

import numpy as np

from difjax import errors
from difjax.data import pipeline, tar_index
from difjax.evaluation import bench, checkpoint_bench, input_bench, timings
from difjax.training import trainer as trainers

_COARSE = 8  # pixels a side of what synthetic images are enlarged from
_POLL = 0.01  # seconds
_TRAIN = (sys.executable, '-m', 'difjax', 'train')
_OURS, _BENEATH = 'difjax.training', 'jax, flax.linen, optax, orbax.checkpoint'


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputSpeed(timings.Benchmark):
  """Batches of a pipeline, with nothing to do with them.

  Attributes:
    title: of the data.
    data: the pipeline.
    batches: in a round.
  """

  title: str
  data: pipeline.Pipeline
  batches: int = 200

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns images a second."""
    return [timings.Figure(
      name=f'input: {self.title}', unit='images/s', rate=True,
      ours=[input_bench.rate(self.data, self.batches) for _ in range(rounds)],
    )]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardSpeed(timings.Benchmark):
  """Synthetic JPEGs in tars as batches, beside webdataset.

  Attributes:
    images: in all tars.
    shards: how many tars.
    side: of the images.
    size: that they are made.
    batches: of `input_bench.BATCH` images, in a round.
  """

  images: int = 1024
  shards: int = 8
  side: int = 256
  size: int = 64
  batches: int = 128

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns images a second."""
    with tempfile.TemporaryDirectory() as folder:
      self.write(pathlib.Path(folder))
      _, ours, theirs = input_bench.read(
        folder, self.size, self.batches, rounds
      )
    figure = timings.Figure(
      name=f'input: tars of JPEGs, {self.side} to {self.size} pixels',
      unit='images/s', rate=True, ours=input_bench.best(ours),
      note='' if theirs else input_bench.MISSING,
    )  # fmt: skip
    if theirs:
      version = importlib.metadata.version('webdataset')
      figure = dataclasses.replace(
        figure, beside=f'webdataset {version}',
        theirs=input_bench.best(theirs),
      )  # fmt: skip
    return [figure]

  def write(self, folder: pathlib.Path) -> None:
    """Writes the tars and their index."""
    for shard in range(self.shards):
      rng = np.random.default_rng(shard)
      with tarfile.open(folder / f'{shard:05d}.tar', 'w') as file:
        for i in range(shard, self.images, self.shards):
          content = _jpeg(rng, self.side)
          info = tarfile.TarInfo(f'{i:06d}.jpg')
          info.size = len(content)
          file.addfile(info, io.BytesIO(content))
    tar_index.write(folder)


def _jpeg(rng: np.random.Generator, side: int) -> bytes:
  """Encodes smooth noise under a little rough noise, about as a photograph."""
  from PIL import Image

  coarse = rng.integers(0, 256, (_COARSE, _COARSE, 3), np.uint8)
  smooth = Image.fromarray(coarse).resize((side, side), Image.BICUBIC)
  rough = rng.integers(-8, 8, (side, side, 3))
  pixels = np.clip(np.asarray(smooth) + rough, 0, 255).astype(np.uint8)
  content = io.BytesIO()
  Image.fromarray(pixels).save(content, 'jpeg', quality=90)
  return content.getvalue()


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointSpeed(timings.Benchmark):
  """How long training stands still for a checkpoint, beside its writing.

  Attributes:
    title: of the model.
    trainer: the run; its state is made of random numbers.
  """

  title: str
  trainer: trainers.Trainer

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns seconds."""
    size, pairs = checkpoint_bench.rounds(self.trainer, rounds)
    blocked, written = zip(*pairs, strict=True)
    return [timings.Figure(
      name=f'{self.title}: training stands still for a checkpoint of '
      f'{size / 1e6:,.0f} MB',
      unit='s', ours=blocked, beside='until it is written', theirs=written,
    )]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartUp(timings.Benchmark):
  """From a command to the end of its first training step.

  Attributes:
    title: of the model.
    config: path of a config file.
  """

  title: str
  config: str

  def measure(self, rounds: int) -> list[timings.Figure]:
    """Returns seconds: importing, and whole with and without a cache."""
    imported = bench.in_turn(
      rounds, *(lambda name=name: _import(name) for name in (_OURS, _BENEATH))
    )
    ours, beneath = zip(*imported, strict=True)
    cold, warm = [], []
    with tempfile.TemporaryDirectory() as place:
      for i in range(rounds):
        folder = pathlib.Path(place, str(i))
        cold.append(self.first_step(folder / 'cold', folder / 'cache'))
        warm.append(self.first_step(folder / 'warm', folder / 'cache'))
    return [
      timings.Figure(
        name=f'start-up: import {_OURS}', unit='s', ours=ours,
        beside=f'import {_BENEATH}', theirs=beneath,
      ),
      timings.Figure(
        name=f'start-up: {self.title} to the end of its first step, compiled '
        'before',
        unit='s', ours=warm, beside='nothing compiled before', theirs=cold,
      ),
    ]  # fmt: skip

  def first_step(self, workdir: pathlib.Path, cache: pathlib.Path) -> float:
    """Starts a run, and ends it after its first step.

    Args:
      workdir: a folder that is not there yet.
      cache: of compiled programs.

    Returns:
      Seconds from the start of its process.

    Raises:
      ConfigError: it ended before.
    """
    workdir.mkdir(parents=True)
    metrics, told = workdir / 'run' / 'metrics.jsonl', workdir / 'told'
    variables = {
      'JAX_COMPILATION_CACHE_DIR': str(cache),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.3',  # as in launch/
    }
    command = (
      *_TRAIN, f'--config={self.config}', f'--workdir={metrics.parent}',
      '--config.log_every=1', '--config.tensorboard=False',
    )  # fmt: skip
    began = time.perf_counter()
    with told.open('wb') as stream, subprocess.Popen(
      command, stdout=stream, stderr=stream, env={**os.environ, **variables}
    ) as run:
      try:
        while not (metrics.exists() and metrics.stat().st_size):
          if run.poll() is not None:
            raise errors.ConfigError(_last_line(told))
          time.sleep(_POLL)
        return time.perf_counter() - began
      finally:
        run.kill()


def _import(names: str) -> None:
  subprocess.run([sys.executable, '-c', f'import {names}'], check=True)


def _last_line(file: pathlib.Path) -> str:
  lines = file.read_text(errors='replace').split('\n')
  said = [line.strip() for line in lines if line.strip()]
  return said[-1] if said else 'it ended without a word'
