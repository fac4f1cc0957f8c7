"""Arrays in a NumPy .npz file, the format of ADM's reference batches."""

from __future__ import annotations

import dataclasses
import functools
import zipfile

import numpy as np

from difjax import errors
from difjax.data import source
from difjax.typing import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Npz(source.InMemory):
  """Images, and labels where the file has them.

  Attributes:
    path: the .npz file; pickled objects in it are refused.
    image_key: name of the images [N, H, W, C] uint8.
    label_key: name of the labels [N], which may be absent.
  """

  path: str
  image_key: str = 'arr_0'
  label_key: str = 'arr_1'

  @functools.cached_property
  def arrays(self) -> dict[str, Array]:
    """Image [N, H, W, C] uint8 and perhaps label [N] int32."""
    try:
      # np.load would take a .npy file too; zipfile names what is wrong.
      zipfile.ZipFile(self.path).close()
      with np.load(self.path, allow_pickle=False) as file:
        wanted = {'image': self.image_key, 'label': self.label_key}
        found = {k: file[v] for k, v in wanted.items() if v in file.files}
        names = ', '.join(file.files)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as e:
      raise errors.DataError(f'cannot read {self.path} as .npz: {e}') from e
    if 'image' not in found:
      raise errors.DataError(
        f'{self.path} has no array {self.image_key!r}; it has {names}: set '
        'image_key'
      )
    return self._checked(**found)

  def _checked(self, image: Array, label: Array | None = None) -> dict:
    if image.dtype != np.uint8 or image.ndim != 4 or not image.size:
      raise errors.DataError(
        f'{self.path}: {self.image_key!r} is {image.dtype} {image.shape}, not '
        'uint8 [N, H, W, C]: convert it first'
      )
    if label is None:
      return {'image': image}
    if label.shape != image.shape[:1] or label.dtype.kind not in 'iu':
      raise errors.DataError(
        f'{self.path}: {self.label_key!r} is {label.dtype} {label.shape}, not '
        f'{len(image)} integers: set label_key'
      )
    return {'image': image, 'label': label.astype(np.int32)}
