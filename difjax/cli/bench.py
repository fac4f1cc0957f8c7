"""difjax bench: measures how fast things are, beside what they stand on.

  difjax bench --config=configs/benchmarks.py
  difjax bench --config=configs/quickstart.py
  difjax bench --workdir=runs/digits
  difjax bench --shards=data/mine

flags:
  --config=FILE         the experiment: loop and sampling are measured, or the
                        network beside the peer that the config names, or
                        all benchmarks that it lists
  --workdir=DIR         of a run: its adaptive ODE is measured
  --shards=DIR          indexed tars: reading them is measured
  --size=N              of tars: side of the centre crop (none)
  --config.KEY=VALUE    overrides any argument of any part
  --steps=N             steps in a round (200)
  --rounds=N            rounds, one of each kind in turn; medians count (5, or
                        as a list of benchmarks says)
  --saves=N             checkpoints of the config's state to write (0)
  --step_ms=MS          what a step of the config takes elsewhere: nothing but
                        checkpoints is measured here
  --images=N            of a run: solved at once (16)
  --out=DIR             for the figures, bench.json, and a run's picture of work
                        and precision, work_precision.png
  --readme=FILE         whose table is replaced by that of all benchmarks
  --part=NAME           of all benchmarks measures one, and prints its figures

Of a list of benchmarks each runs in a process of its own. What is done is kept
in DIR/bench.json (--out, runs/bench by default) with the hardware, the versions
and every round, and as a table in DIR/bench.md; stopped, the same command goes
on. One that fails is a line, costs no other, and makes the exit code 1.

Otherwise it prints, and the figures behind it as JSON: of a config, two ratios
of times taken in one run, so that a busy machine hurts both sides alike,
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
and, in the figures, where the time of our training step goes
"""

from __future__ import annotations

import json
import pathlib
import types
from typing import Any, Final

from absl import flags

from difjax import config as configs
from difjax import errors
from difjax.cli import arguments, suite, train

_Found = dict[str, dict[str, Any]]


def main(argv: list[str]) -> int:
  """Measures; returns the exit code."""
  rest, targets = argv, {}
  for name in _MODES:
    target, rest = arguments.take(rest, name)
    if target is not None:
      targets[name] = target
  path = targets.get('config')
  spec = {'config': arguments.config_file(path)} if path else None
  values = arguments.parse(rest, _define, __doc__, spec)
  if len(targets) != 1:
    raise errors.ConfigError(
      'bench needs --config=FILE, --workdir=DIR or --shards=DIR'
    )
  plain = values.config.to_dict() if path else {}
  if 'parts' in plain:
    plain['rounds'] = values.rounds or plain['rounds']
    if values.part is not None:
      return suite.one(plain, values.part)
    return suite.whole(plain, argv, values.out, values.readme)
  ((name, target),) = targets.items()
  _tell(_MODES[name](target, values), values.out)
  return 0


def _define(values: flags.FlagValues) -> None:
  for name, default in (('steps', 200), ('rounds', None), ('images', 16)):
    flags.DEFINE_integer(name, default, '', 1, flag_values=values)
  flags.DEFINE_integer('saves', 0, '', 0, flag_values=values)
  flags.DEFINE_float('step_ms', None, '', 0, flag_values=values)
  flags.DEFINE_integer('size', None, '', 1, flag_values=values)
  for name in ('out', 'readme', 'part'):
    flags.DEFINE_string(name, None, '', flag_values=values)


def _tell(found: _Found, out: str | None) -> None:
  """Prints ratios, then all figures as JSON, which is also written."""
  for name, figures in found.items():
    if 'ratio' in figures:
      print(f'{name}: {figures["ratio"]:.3f}')
    elif 'missing' in figures:
      print(f'{name}: {figures["missing"]}')
  text = json.dumps(found)
  print(text)
  if out is not None:
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'bench.json').write_text(text + '\n')


def _of_run(workdir: str, values: flags.FlagValues) -> _Found:
  from difjax.evaluation import ode_bench, plots, trained

  model = trained.load(pathlib.Path(workdir), needs='denoiser')
  time = ode_bench.wall_clock(model, _rounds(values), values.images)
  work = ode_bench.work(model, values.images)
  if values.out is not None:
    picture = pathlib.Path(values.out, 'work_precision.png')
    plots.write(picture, work.picture())
  return {'ode': time, 'work': work.figures()}


def _of_shards(path: str, values: flags.FlagValues) -> _Found:
  from difjax.evaluation import input_bench

  return {'input': input_bench.compare(
    path, values.size, values.steps, _rounds(values)
  )}  # fmt: skip


def _of_config(path: str, values: flags.FlagValues) -> _Found:
  del path  # it is read already, and overridden
  plain = values.config.to_dict()
  if 'peer' in plain:
    return _beside_peer(plain, _rounds(values))
  trainer = train.build(plain)

  from difjax.evaluation import bench, checkpoint_bench

  found, step_ms = {}, values.step_ms
  if not step_ms:
    sampler = configs.build(plain['sampler'], path='config.sampler')
    rounds = _rounds(values)
    found['loop'] = bench.loop_overhead(trainer, values.steps, rounds)
    found['sampling'] = bench.sampling_overhead(trainer, sampler, rounds)
    step_ms = found['loop']['loop_ms']
  if values.saves or values.step_ms:
    found['checkpoint'] = checkpoint_bench.stall(
      trainer, values.saves or 3, step_ms
    )
  return found


def _beside_peer(plain: dict[str, Any], rounds: int) -> _Found:
  objective, optimiser, peer = (
    configs.build(plain[key], path=f'config.{key}')
    for key in ('objective', 'optimiser', 'peer')
  )

  from difjax.evaluation import peers

  return peers.compare(objective, optimiser, peer, rounds)


def _rounds(values: flags.FlagValues) -> int:
  return values.rounds or 5


_MODES: Final = types.MappingProxyType({
  'config': _of_config, 'workdir': _of_run, 'shards': _of_shards
})  # fmt: skip
