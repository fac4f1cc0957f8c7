"""`difjax data prepare`, `index` and `inspect`: data sets read and measured."""

from __future__ import annotations

import argparse
import pathlib
import re

SHOWN = 20  # damages that are printed


def main(argv: list[str]) -> int:
  """Runs the verb.

  Args:
    argv: what follows `difjax data` on the command line.

  Returns:
    Exit code; failures are raised as DifjaxError.
  """
  if argv[:1] == ['inspect']:  # its flags are paths into a config
    from difjax.cli import inspect

    return inspect.main(argv[1:])
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
    'index', help='write the index that makes tars or TFRecords random access'
  )
  index.set_defaults(run=_index)
  index.add_argument(
    'path', nargs='+', help='folder with *.tar shards or *.tfrecord* files'
  )
  index.add_argument(
    '--decode', action='store_true', help='decode every image of tars as well'
  )
  index.add_argument(
    '--threads', type=int, default=8, help='shards read at once; default: 8'
  )
  verbs.add_parser(
    'inspect', help='measure a data set and propose settings of a process'
  )
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

  paths = map(pathlib.Path, args.path)
  folders = (path.parent if path.suffix == '.tar' else path for path in paths)
  for folder in dict.fromkeys(folders):
    if any(folder.glob('*.tar')) or not any(folder.glob('*tfrecord*')):
      _index_tars(str(folder), max(1, args.threads), args.decode)
    else:
      print(f'index: {tfrecord.write_index(str(folder))}')
  return 0


def _index_tars(path: str, threads: int, decode: bool) -> None:
  """Indexes a folder of tars and says what is in it and what is wrong."""
  from difjax.data import shards, tar_index

  place, index = tar_index.write(path, threads)
  known = index.arrays
  print(
    f'index: {place}: {len(index):,} samples in {len(known["name"]):,} shards, '
    f'{known["size"].sum() / 1e6:,.1f} MB, an image '
    f'{known["image_size"].mean() / 1e3:,.1f} kB'
  )
  lines, count = known['damages'].tolist(), int(known['num_damages'])
  if decode:
    found = list(shards.undecodable(path, threads))
    lines, count = lines + found, count + len(found)
  for line in lines[:SHOWN]:
    print(f'damaged: {line}')
  print(f'{count:,} damaged' + (f', {SHOWN} shown' if count > SHOWN else ''))
