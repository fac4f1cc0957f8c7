"""Checkpoints made by hand, good and bad, without PyTorch."""

from __future__ import annotations

import io
import json
import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'containers'
MAGIC = 0x1950A86A20F9469CFC6C


class Run:
  """Pickles as a call of any function."""

  def __init__(self, function, *args):
    self._call = function, args

  def __reduce__(self):
    return self._call


def attack(canary):
  """A pickle that makes a file when Python reads it."""
  return pickle.dumps({'model': Run(os.system, f'touch {canary}')}, 2)


class Storage:
  """Pickles as a reference to a storage."""

  def __init__(self, kind, key, count, where='cpu'):
    self.identifier = ('storage', Name('torch', kind), key, where, count)


class Name:
  """Pickles as a name."""

  def __init__(self, module, name):
    self.module, self.name = module, name


class Tensor:
  """Pickles as a view of a storage."""

  def __init__(self, storage, offset, sizes, strides):
    self.args = (storage, offset, sizes, strides, False, {})


class Pickler(pickle._Pickler):
  """Writes the three of them, by protocol 2 as torch does."""

  def persistent_id(self, obj):
    return obj.identifier if isinstance(obj, Storage) else None

  def save(self, obj, save_persistent_id=True):
    if isinstance(obj, Name):
      self.write(f'c{obj.module}\n{obj.name}\n'.encode())
    elif isinstance(obj, Tensor):
      self.save(Name('torch._utils', '_rebuild_tensor_v2'))
      self.save(obj.args)
      self.write(pickle.REDUCE)
    else:
      super().save(obj, save_persistent_id)


def pickled(tree):
  """The bytes of a pickle of dicts, `Tensor`s and `Name`s."""
  stream = io.BytesIO()
  Pickler(stream, 2).dump(tree)
  return stream.getvalue()


def tensors(**arrays):
  """A tree of contiguous float32 tensors, and its storages by key."""
  tree, storages = {}, {}
  for i, (name, array) in enumerate(arrays.items()):
    array = np.ascontiguousarray(array, np.float32)
    steps = tuple(step // 4 for step in array.strides)
    storage = Storage('FloatStorage', str(i), array.size)
    tree[name] = Tensor(storage, 0, array.shape, steps)
    storages[str(i)] = array.tobytes()
  return tree, storages


def archive(
  data, storages=(), members=(), compress=zipfile.ZIP_STORED, order='little'
):
  """The bytes of a torch archive around a pickle."""
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w', compress) as out:
    out.writestr('made/data.pkl', data)
    out.writestr('made/byteorder', order)
    for key, octets in dict(storages).items():
      out.writestr(f'made/data/{key}', octets)
    for name, octets in dict(members).items():
      out.writestr(name, octets)
  return stream.getvalue()


def stream(data, storages=(), size=4, little=True):
  """The bytes of a legacy torch stream around a pickle."""
  storages = dict(storages)
  head = [MAGIC, 1001, dict(protocol_version=1001, little_endian=little)]
  parts = [*(pickle.dumps(part, 2) for part in head), data]
  parts.append(pickle.dumps(list(storages), 2))
  for octets in storages.values():
    parts += [struct.pack('<q', len(octets) // size), octets]
  return b''.join(parts)


def safetensors(header, data=b''):
  """The bytes of a safetensors file."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack('<Q', len(text)) + text + data
