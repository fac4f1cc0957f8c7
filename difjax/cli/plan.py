"""difjax plan: compiles a config's training step and says what it will need.

  difjax plan --config=configs/imagenet/dit_xl2.py --topology=v5e:16x16
  difjax plan --config=... --topology=v4-32 --config.mesh.fsdp=16
  difjax plan --config=configs/quickstart.py

flags:
  --config=FILE         the experiment
  --config.KEY=VALUE    overrides any argument of any part, by its path
  --topology=SLICE      of TPUs, such as v5e:16x16, v4-32 or v5litepod-8: none
                        is needed, but pip install difjax[plan]; this machine's
                        devices if left out
  --sampling            plans one evaluation of the denoiser for a sampler, of
                        as many images as a batch has, in place of a step
  --memory=GIB          of a device; what is known of it if left out
  --json=FILE           for all figures
  --out=DIR             for plan.html, a page with bars, plan.json, plan.png
  --record=FILE         a table of plans, in which the row is written anew

Prints parameters, state and memory a device, operations, collectives against
the least that is needed, the roofline's bound on a step and on the MFU, and
the time that compiling took. Leaves with 2 if the step does not fit in memory,
and says what to change.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import types
from typing import Final

from absl import flags

from difjax import errors
from difjax.cli import arguments, train

_COMPILE_ONLY: Final = types.MappingProxyType({
  'JAX_PLATFORMS': 'cpu',
  'JAX_ENABLE_COMPILATION_CACHE': 'false',  # it would hide the compiler's time
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_ACCELERATOR_TYPE': 'v5litepod-8',  # any that it knows, or it warns
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_STDERR_LOG_LEVEL': '3',
  'TPU_MIN_LOG_LEVEL': '3',
})


def _define(values: flags.FlagValues) -> None:
  for name in ('topology', 'json', 'out', 'record'):
    flags.DEFINE_string(name, None, '', flag_values=values)
  flags.DEFINE_float('memory', None, '', 0.0, flag_values=values)
  flags.DEFINE_boolean('sampling', False, '', flag_values=values)


def main(argv: list[str]) -> int:
  """Plans; returns the exit code."""
  path, argv = arguments.take(argv, 'config')
  config = {'config': arguments.config_file(path)} if path else None
  values = arguments.parse(argv, _define, __doc__, config)
  if path is None:
    raise errors.ConfigError('plan needs --config=FILE')

  if values.topology is not None and 'jax' not in sys.modules:
    os.environ.update(_COMPILE_ONLY)

  from difjax.evaluation import plan, plan_page, planned, plots, report
  from difjax.training import topology

  place = topology.parse(values.topology) if values.topology else None
  spec = values.config.to_dict()
  trainer = train.build(planned.stand_in(spec))
  memory = int(2**30 * values.memory) if values.memory else None
  found = plan.make(trainer, place, sampling=values.sampling, memory=memory)
  text = plan_page.text(found)
  print(text)
  record = f'{json.dumps(found.record(), indent=1)}\n'.encode()
  if values.json is not None:
    plots.write(values.json, record)
  if values.out is not None:
    out = pathlib.Path(values.out)
    plots.write(out / 'plan.json', record)
    plots.write(out / 'plan.png', plan_page.bars(found))
    report.write(out / 'plan.html', plan_page.page(_name(path), found))
  if values.record is not None:
    planned.record(values.record, _name(path), spec, found)
  return 0


def _name(path: str) -> str:
  """Returns what a config is called: its path within configs/."""
  parts = pathlib.Path(path).with_suffix('').parts
  if 'configs' not in parts:
    return parts[-1]
  last = len(parts) - parts[::-1].index('configs')
  return '/'.join(parts[last:])
