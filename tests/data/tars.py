"""Small tar shards, made by the standard library."""

from __future__ import annotations

import io
import json
import tarfile

from PIL import Image


def png(value, side=4):
  buffer = io.BytesIO()
  Image.new('RGB', (side, side), (value, value, value)).save(buffer, 'PNG')
  return buffer.getvalue()


def samples(count, first=0, classes=5):
  """Files of samples, by name: image i is filled with i."""
  files = {}
  for i in range(first, first + count):
    files[f'{i}.png'] = png(i % 256)
    files[f'{i}.txt'] = f'number {i}'.encode()
    files[f'{i}.json'] = json.dumps({'class': i % classes}).encode()
    files[f'{i}.cls'] = f'{i % classes}\n'.encode()
  return files


def write(path, files, form=tarfile.USTAR_FORMAT):
  """Writes a tar of named bytes, in order."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, 'w', format=form) as tar:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))
