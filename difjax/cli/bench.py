"""difjax bench: measures the loop and the sampler against the bare network.

  difjax bench --config=configs/quickstart.py
  difjax bench --workdir=runs/digits
  difjax bench --shards=data/mine

flags:
  --config=FILE         the experiment: loop and sampling are measured, or the
                        network beside the peer that the config names
  --workdir=DIR         of a run: its adaptive ODE is measured
  --shards=DIR          indexed tars: reading them is measured
  --size=N              of tars: side of the centre crop (none)
  --config.KEY=VALUE    overrides any argument of any part
  --steps=N             steps in a round (200)
  --rounds=N            rounds, one of each kind in turn; medians count (5)
  --saves=N             checkpoints of the config's state to write (0)
  --step_ms=MS          what a step of the config takes elsewhere: nothing but
                        checkpoints is measured here
  --images=N            of a run: solved at once (16)
  --out=DIR             for the figures, bench.json, and a run's picture of work
                        and precision, work_precision.png

Prints two ratios of times taken in one run, so that a busy machine hurts both
sides alike, and the figures behind them as JSON:
  loop      the training loop, with data, EMA, logging and checkpoints on, over
            the compiled step alone
  sampling  a sampler's whole call over its evaluations x one network call
and, of checkpoints,
  checkpoint  seconds that training stands still for a save over those between
            two saves, which is computed: steps between them x time of a step
or, of a run,
  ode       the adaptive ODE on device over its evaluations x one network call
  work      its evaluations over those of SciPy's RK45 on the same network, at
            equal error: the mean over errors, in float64
or, of tars (pip install webdataset),
  input     images a second as batches, over webdataset's on the same files;
            a round is --steps batches of 64
or, beside a peer in eager PyTorch (pip install torch diffusers), theirs over
ours, the median of the rounds; its range is among the figures:
  forward   a call of the network
  draw      samples by DDIM
  train     a training step
  features  of FID, from images (pip install torch torchvision pytorch-fid)
and, in the figures, where the time of our training step goes
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from absl import flags

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments, train


def main(argv: list[str]) -> int:
  """Measures; returns the exit code."""

  def define(values: flags.FlagValues) -> None:
    for name, default in (('steps', 200), ('rounds', 5), ('images', 16)):
      flags.DEFINE_integer(name, default, '', 1, flag_values=values)
    flags.DEFINE_integer('saves', 0, '', 0, flag_values=values)
    flags.DEFINE_float('step_ms', None, '', 0, flag_values=values)
    flags.DEFINE_string('out', None, '', flag_values=values)
    flags.DEFINE_integer('size', None, '', 1, flag_values=values)

  path, argv = arguments.take(argv, 'config')
  workdir, argv = arguments.take(argv, 'workdir')
  tars, argv = arguments.take(argv, 'shards')
  spec = {'config': arguments.config_file(path)} if path else None
  values = arguments.parse(argv, define, __doc__, spec)
  if [path, workdir, tars].count(None) != 2:
    raise errors.ConfigError(
      'bench needs --config=FILE, --workdir=DIR or --shards=DIR'
    )
  out = None if values.out is None else pathlib.Path(values.out)
  if out is not None:
    out.mkdir(parents=True, exist_ok=True)
  if tars is not None:
    found = _of_shards(tars, values)
  else:
    found = _of_run(workdir, values, out) if workdir else _of_config(values)
  for name, figures in found.items():
    if 'ratio' in figures:
      print(f'{name}: {figures["ratio"]:.3f}')
    elif 'missing' in figures:
      print(f'{name}: {figures["missing"]}')
  text = json.dumps(found)
  print(text)
  if out is not None:
    (out / 'bench.json').write_text(text + '\n')
  return 0


def _of_run(
  workdir: str, values: flags.FlagValues, out: pathlib.Path | None
) -> dict[str, Any]:
  from difjax.evaluation import ode_bench, plots, trained

  model = trained.load(pathlib.Path(workdir), needs='denoiser')
  time = ode_bench.wall_clock(model, values.rounds, values.images)
  work = ode_bench.work(model, values.images)
  if out is not None:
    plots.write(out / 'work_precision.png', work.picture())
  return {'ode': time, 'work': work.figures()}


def _of_shards(path: str, values: flags.FlagValues) -> dict[str, Any]:
  from difjax.evaluation import input_bench

  return {
    'input': input_bench.compare(path, values.size, values.steps, values.rounds)
  }


def _of_config(values: flags.FlagValues) -> dict[str, Any]:
  plain = values.config.to_dict()
  if 'peer' in plain:
    return _beside_peer(plain, values.rounds)
  trainer = train.build(plain)

  from difjax.evaluation import bench, checkpoint_bench

  found, step_ms = {}, values.step_ms
  if not step_ms:
    sampler = configs.build(plain['sampler'], path='config.sampler')
    found['loop'] = bench.loop_overhead(trainer, values.steps, values.rounds)
    found['sampling'] = bench.sampling_overhead(
      trainer, sampler, values.rounds
    )
    step_ms = found['loop']['loop_ms']
  if values.saves or values.step_ms:
    found['checkpoint'] = checkpoint_bench.stall(
      trainer, values.saves or 3, step_ms
    )
  return found


def _beside_peer(plain: dict[str, Any], rounds: int) -> dict[str, Any]:
  if 'objective' not in plain:  # of a network that is not trained
    return configs.build(plain['peer'], path='config.peer').compare(rounds)
  objective, optimiser, peer = (
    configs.build(plain[key], path=f'config.{key}')
    for key in ('objective', 'optimiser', 'peer')
  )

  from difjax.evaluation import peers

  return peers.compare(objective, optimiser, peer, rounds)
