"""`difjax data prepare` and `difjax data index`: data sets made readable."""

from __future__ import annotations

import argparse
import pathlib
import re


def main(argv: list[str]) -> int:
  """Runs the verb.

  Args:
    argv: what follows `difjax data` on the command line.

  Returns:
    Exit code; failures are raised as DifjaxError.
  """
  args = _parser().parse_args(argv)
  return args.run(args)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog='difjax data', description=__doc__)
  verbs = parser.add_subparsers(required=True, metavar='VERB')
  prepare = verbs.add_parser(
    'prepare', help='write a folder or zip of images as a tfds data set'
  )
  prepare.set_defaults(run=_prepare)
  prepare.add_argument('--source', required=True, help='folder or .zip')
  prepare.add_argument('--out', required=True, help='folder of data sets')
  prepare.add_argument('--name', help="data set's name; default: the source's")
  prepare.add_argument('--split', default='train', help='default: train')
  prepare.add_argument('--size', type=int, help='side of the centre crop')
  prepare.add_argument(
    '--channels', type=int, default=3, choices=(1, 3, 4), help='default: 3'
  )
  prepare.add_argument(
    '--no-labels', action='store_true', help='sub-folders are not classes'
  )
  index = verbs.add_parser(
    'index', help='write the index that makes TFRecord files random access'
  )
  index.set_defaults(run=_index)
  index.add_argument('path', help='folder with the *.tfrecord* files')
  return parser


def _prepare(args: argparse.Namespace) -> int:
  from difjax.data import folder, prepare

  stem = pathlib.Path(args.source).absolute().stem.lower()
  source = folder.ImageFolder(
    path=args.source,
    size=args.size,
    channels=args.channels,
    labels=not args.no_labels,
  )
  name = args.name or re.sub(r'\W', '_', stem)
  path = prepare.prepare(source, args.out, name, args.split)
  print(f'{len(source)} images, {source.num_classes} classes: {path}')
  return 0


def _index(args: argparse.Namespace) -> int:
  from difjax.data import tfrecord

  print(f'index: {tfrecord.write_index(args.path)}')
  return 0
