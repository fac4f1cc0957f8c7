"""The command line: `difjax VERB --flag=value ...`, or `python -m difjax`.

A verb is a module of `difjax.cli` with `main(argv)`. Only the verb that is
asked for is imported.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
import types

from difjax import errors

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_VERBS = types.MappingProxyType({
  'train': 'train a model from a config',
  'sample': 'write images of a trained model, for eyes and other tools',
  'evaluate': 'judge images or a model, with a card; compare two cards',
  'reproduce': 'sample and score an official checkpoint beside its paper',
  'report': 'judge a trained model and write report.html',
  'export': 'make files of a trained model that run without difjax',
  'convert': 'make a work directory of an official checkpoint',
  'ema': 'make an average of any width after training',
  'data': 'prepare or index a data set',
  'supervise': 'run a command again until it is done',
  'goodput': 'say where the time of a run went',
  'plan': 'say what a training step needs on devices that are not here',
  'bench': 'measure how fast things are, beside what they stand on',
  'doctor': 'say what is installed, what runs and what is missing',
})


def main(argv: list[str] | None = None) -> int:
  """Runs a verb.

  Args:
    argv: the arguments after the program's name; those of the process when
      None.

  Returns:
    The exit code, documented in `difjax/errors.py`.
  """
  argv = sys.argv[1:] if argv is None else argv
  try:
    try:
      return _run(argv)
    finally:
      sys.stdout.flush()  # here a closed pipe can still be answered
  except BrokenPipeError:  # `difjax ... | head`
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _run(argv: list[str]) -> int:
  verb, rest = (argv[0], argv[1:]) if argv else ('--help', [])
  if verb in ('--help', '-h', 'help'):
    print(_usage())
    return 0
  debug = '--debug' in rest
  try:
    if verb not in _VERBS:
      raise errors.ConfigError(
        f'there is no verb {verb!r}; there are: {", ".join(_VERBS)}'
      )
    if not debug:
      _hush()
    module = importlib.import_module(f'difjax.cli.{verb}')
    return module.main([flag for flag in rest if flag != '--debug']) or 0
  except errors.DifjaxError as error:
    if debug:
      raise
    return _report(verb, error, error.exit_code)
  except KeyboardInterrupt:
    print(f'difjax {verb}: interrupted', file=sys.stderr)
    return 130
  except BrokenPipeError:  # for `main`
    raise
  except OSError as error:  # a path that is off, or a full disk
    if debug:
      raise
    kind = errors.ConfigError
    if error.errno in _FULL:
      kind = errors.CheckpointError
    return _report(verb, error, kind.exit_code)


def _hush() -> None:
  """Keeps libraries from logging pages about what is said in one line."""
  from absl import logging as absl_logging

  absl_logging.set_verbosity(absl_logging.FATAL)
  logging.getLogger('asyncio').setLevel(logging.CRITICAL)


def _report(verb: str, error: Exception, code: int) -> int:
  line = ' '.join(str(error).splitlines())
  print(f'difjax {verb}: {line}', file=sys.stderr)
  return code


def _usage() -> str:
  width = max(map(len, _VERBS))
  verbs = '\n'.join(f'  {v:<{width}}  {what}' for v, what in _VERBS.items())
  return (
    'difjax: diffusion models in JAX\n\n'
    f'usage: difjax VERB [--flag=value ...] [--debug]\n\n{verbs}\n\n'
    'difjax VERB --help explains a verb. --debug shows tracebacks.\n'
    'Exit codes: 0 done, 2 config, 3 non-finite, 4 data, 5 checkpoint, '
    '42 start again.'
  )


if __name__ == '__main__':
  sys.exit(main())
