"""A set of samples as the files that other tools read.

| name      | in DIR                           | read by                       |
|-----------|----------------------------------|-------------------------------|
| png       | png/000000.png ...               | pytorch-fid, clean-fid, eyes  |
| grid      | grid.png, of the first hundred   | eyes                          |
| npz       | samples.npz: arr_0, arr_1        | ADM's evaluator               |
| webp      | webp/000000.webp, lossless       | clean-fid, torch-fidelity     |
| edm       | edm/000000/000000.png ...        | EDM's fid.py                  |
| zip       | samples.zip with dataset.json    | EDM's and StyleGAN's datasets |
| score_sde | score_sde/samples_0.npz: samples | score_sde's evaluation        |
| tar       | tar/00000.tar, with an index     | webdataset, `data.Shards`     |
| tfds      | tfds/samples/1.0.0, array_record | tensorflow-datasets, grain    |

Every writer reads the blocks one by one, so that a set need not fit in memory,
and what it writes takes its name when it is whole: of several that write one
format at once, the first to be done gives it. An image is called by its index.
Bytes follow from the set alone: members of archives have no date.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import pathlib
import shutil
import tarfile
import types
import uuid
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from difjax import errors
from difjax.data import images, prepare, tar_index
from difjax.evaluation import plots, sample_set

_TAR = 10_000  # samples in a tar
_SUBFOLDER = 1000  # images in a folder, as EDM's generate.py has them
_SHOWN = 100  # images in a grid
_DATE = (1980, 1, 1, 0, 0, 0)  # the least that a zip can say


def png(samples: sample_set.SampleSet, out: pathlib.Path) -> None:
  """Writes a folder of PNG files and nothing else."""
  with _renamed(out) as partial:
    partial.mkdir()
    for index, image, _ in _each(samples):
      (partial / f'{index:06d}.png').write_bytes(plots.png(image))


def grid(samples: sample_set.SampleSet, out: pathlib.Path) -> None:
  """Writes a picture of the first images, some to a row."""
  first = []
  for _, image, _ in _each(samples):
    first.append(image)
    if len(first) == _SHOWN:
      break
  picture = plots.grid(np.stack(first), min(10, len(first)))
  with _renamed(out) as partial:
    partial.write_bytes(plots.png(picture))


def npz(samples: sample_set.SampleSet, out: pathlib.Path) -> None:
  """Writes arr_0 uint8 [N, H, W, C], and arr_1 int64 [N] of a labelled set."""
  with _renamed(out) as partial, zipfile.ZipFile(partial, 'w') as file:
    shape = (samples.num, *samples.shape)
    with _member(file, 'arr_0.npy') as member:
      _header(member, np.dtype(np.uint8), shape)
      for block in samples:
        member.write(np.ascontiguousarray(block.images))
    if samples.labelled:
      with _member(file, 'arr_1.npy') as member:
        _header(member, np.dtype(np.int64), shape[:1])
        for block in samples:
          member.write(np.ascontiguousarray(block.labels))


def webp(samples: sample_set.SampleSet, out: pathlib.Path) -> None:
  """Writes a folder of lossless WebP files; grey images become RGB."""
  with _renamed(out) as partial:
    partial.mkdir()
    for index, image, _ in _each(samples):
      (partial / f'{index:06d}.webp').write_bytes(_webp(image))


def edm(samples: sample_set.SampleSet, out: pathlib.Path) -> None:
  """Writes EDM's folders of a thousand PNG files, the index as the seed."""
  with _renamed(out) as partial:
    partial.mkdir()
    for index, image, _ in _each(samples):
      folder = partial / f'{index - index % _SUBFOLDER:06d}'
      folder.mkdir(exist_ok=True)
      (folder / f'{index:06d}.png').write_bytes(plots.png(image))


def edm_zip(samples: sample_set.SampleSet, out: pathlib.Path) -> None:
  """Writes the zip of EDM's dataset_tool: PNG files and their labels."""
  labels = []
  with _renamed(out) as partial, zipfile.ZipFile(partial, 'w') as file:
    for index, image, label in _each(samples):
      name = f'{index // _SUBFOLDER:05d}/img{index:08d}.png'
      file.writestr(zipfile.ZipInfo(name, _DATE), plots.png(image))
      labels.append([name, label])
    text = json.dumps({'labels': labels if samples.labelled else None})
    file.writestr(zipfile.ZipInfo('dataset.json', _DATE), text)


def score_sde(samples: sample_set.SampleSet, out: pathlib.Path) -> None:
  """Writes a file for each block, its round counted from 0, backwards.

  Statistics may be in the folder already, so that it is no sign of samples; the
  file of round 0 is, as it comes last.
  """
  for i, number in reversed([*enumerate(samples.blocks)]):
    block = samples.read(number)
    out.mkdir(exist_ok=True)
    with _renamed(out / f'samples_{i}.npz') as partial, partial.open('wb') as f:
      np.savez_compressed(f, samples=block.images)


def tar(samples: sample_set.SampleSet, out: pathlib.Path) -> None:
  """Writes tars of 000000.png and 000000.cls, and the index of their folder."""
  with _renamed(out) as partial:
    partial.mkdir()
    for i, part in enumerate(_parts(_each(samples), samples.num, _TAR)):
      with tarfile.open(partial / f'{i:05d}.tar', 'w') as file:
        for index, image, label in part:
          _add(file, f'{index:06d}.png', plots.png(image))
          if label is not None:
            _add(file, f'{index:06d}.cls', str(label).encode())
    tar_index.write(str(partial))


def tfds(samples: sample_set.SampleSet, out: pathlib.Path) -> None:
  """Writes a data set `samples` of tensorflow-datasets, split `train`."""
  with _renamed(out) as partial:
    encoded = _Encoded(samples=samples, channels=samples.shape[-1])
    prepare.prepare(encoded, str(partial), 'samples')


Writer = Callable[[sample_set.SampleSet, pathlib.Path], None]


class Format(NamedTuple):
  """A format.

  Attributes:
    place: the file or folder in DIR.
    write: writes it.
    last: what appears last in a folder that appears before it is whole.
  """

  place: str
  write: Writer
  last: str = ''


NAMED = types.MappingProxyType({
  'png': Format('png', png),
  'grid': Format('grid.png', grid),
  'npz': Format('samples.npz', npz),
  'webp': Format('webp', webp),
  'edm': Format('edm', edm),
  'zip': Format('samples.zip', edm_zip),
  'score_sde': Format('score_sde', score_sde, last='samples_0.npz'),
  'tar': Format('tar', tar),
  'tfds': Format('tfds', tfds),
})


def check(names: Sequence[str], channels: int) -> None:
  """Refuses formats before anything is drawn.

  Args:
    names: of formats.
    channels: of the images.

  Raises:
    ConfigError: there is no such format, or it has no such images.
  """
  for name in names:
    if name not in NAMED:
      raise errors.ConfigError(
        f'there is no format {name!r}; there are: {", ".join(NAMED)}'
      )
  pictures = [n for n in names if NAMED[n].write not in (npz, score_sde)]
  if pictures and channels not in images.MODES:
    raise errors.ConfigError(
      f'{pictures[0]} holds images of 1, 3 or 4 channels, not {channels}: use '
      '--formats=npz'
    )


def paths(
  samples: sample_set.SampleSet, names: Sequence[str]
) -> dict[str, pathlib.Path]:
  """Returns by format the file or folder that it is written to."""
  return {name: samples.folder / NAMED[name].place for name in names}


def missing(
  samples: sample_set.SampleSet, names: Sequence[str]
) -> dict[str, pathlib.Path]:
  """Returns those of `paths` that are not there yet, or not whole."""
  return {
    name: out for name, out in paths(samples, names).items()
    if not (out / NAMED[name].last).exists()
  }  # fmt: skip


def write(samples: sample_set.SampleSet, names: Sequence[str]) -> None:
  """Writes the formats that are not there yet of a whole set.

  Raises:
    DataError: a block cannot be read.
  """
  for name, out in missing(samples, names).items():
    NAMED[name].write(samples, out)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Encoded(images.Encoded):
  """A set of samples as a source of PNG files."""

  samples: sample_set.SampleSet
  channels: int
  size: None = None

  def __len__(self) -> int:
    return self.samples.num

  def encoded(self, i: int) -> tuple[str, bytes, int | None]:
    """Name, bytes and, where known, label of example `i`."""
    index = self.samples.first + i
    block = self._read(index // self.samples.size)
    at = index - int(block.indices[0])
    label = None if block.labels is None else int(block.labels[at])
    return f'{index:06d}.png', plots.png(block.images[at]), label

  def fingerprint(self) -> str:
    """Digest of the protocol."""
    return sample_set.digest(self.samples.protocol)

  @property
  def num_classes(self) -> int:
    """Of the model; 0 for a set without labels."""
    return self.samples.num_classes if self.samples.labelled else 0

  @property
  def class_names(self) -> tuple[str, ...]:
    """Of the model."""
    return self.samples.class_names

  @functools.cached_property
  def _read(self) -> Callable[[int], sample_set.Block]:
    return functools.lru_cache(1)(self.samples.read)  # they come in turn


def _each(
  samples: sample_set.SampleSet,
) -> Iterator[tuple[int, np.ndarray, int | None]]:
  """Yields (index, image, label) in the order of the indices."""
  for block in samples:
    labels = [None] * len(block.indices)
    if block.labels is not None:
      labels = block.labels.tolist()
    yield from zip(block.indices.tolist(), block.images, labels, strict=True)


def _parts(items: Iterator, total: int, size: int) -> Iterator[Iterator]:
  """Cuts an iterator of a known length; each part must be used up in turn."""
  for start in range(0, total, size):
    yield (next(items) for _ in range(min(size, total - start)))


@contextlib.contextmanager
def _renamed(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a path to write to, which takes its name if all went well.

  Once the name is taken, whoever took it, other paths are of no use: those of
  writers that were killed are removed, and those of writers at work, who then
  find the name taken.
  """
  partial = out.with_name(f'.{out.name}.{uuid.uuid4().hex[:12]}')
  try:
    yield partial
    partial.rename(out)
  except Exception:  # each library has its own for a file that went
    if not out.exists():
      raise
  finally:
    _remove(partial)
  for other in out.parent.glob(f'.{out.name}.*'):
    _remove(other)


def _remove(path: pathlib.Path) -> None:
  if path.is_dir():
    shutil.rmtree(path, ignore_errors=True)  # its writer may be at work
  else:
    path.unlink(missing_ok=True)


def _member(file: zipfile.ZipFile, name: str) -> io.BufferedIOBase:
  info = zipfile.ZipInfo(name, _DATE)
  return file.open(info, 'w', force_zip64=True)


def _header(
  member: io.BufferedIOBase, dtype: np.dtype, shape: tuple[int, ...]
) -> None:
  about = {'descr': dtype.str, 'fortran_order': False, 'shape': shape}
  np.lib.format.write_array_header_1_0(member, about)


def _add(file: tarfile.TarFile, name: str, content: bytes) -> None:
  info = tarfile.TarInfo(name)
  info.size = len(content)
  file.addfile(info, io.BytesIO(content))


def _webp(image: np.ndarray) -> bytes:
  from PIL import Image

  target = io.BytesIO()
  if image.shape[-1] == 1:
    image = image.repeat(3, axis=-1)
  Image.fromarray(image).save(target, 'webp', lossless=True, exact=True)
  return target.getvalue()
