"""pytorch-fid's Inception, for a benchmark beside ours.

It begins with a batch of small images, resizes it, and ends with the features
of FID on the host, with the network between them on a device of the kind that
ours is on; float32 and random weights. pytorch-fid is for this alone and no
dependency of difjax:

  pip install torch torchvision pytorch-fid
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from difjax import errors
from difjax.evaluation import peers

_Actions = dict[str, Callable[[], object]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PytorchFidPeer:
  """What `speed.FeatureSpeed` is timed beside.

  Attributes:
    batch_size: images at once.
    side: of the images in pixels.
  """

  batch_size: int = 32
  side: int = 32

  def label(self) -> str:
    """Names PyTorch and pytorch-fid, with their versions."""
    torch, fid = map(importlib.metadata.version, ('torch', 'pytorch-fid'))
    return f'PyTorch {torch}, pytorch-fid {fid}'

  def actions(self) -> tuple[int, _Actions]:
    """Returns the number of parameters, and what is to be timed.

    Raises:
      ConfigError: PyTorch or pytorch-fid is not installed, or PyTorch does not
        run on the devices that jax runs on.
    """
    try:
      import torch
      from pytorch_fid import inception as theirs
    except ImportError as error:
      raise errors.ConfigError(
        f'a peer needs {error.name}: pip install torch torchvision pytorch-fid'
      ) from error
    where, _ = peers.place(torch)
    with (  # its constructor would fetch weights and fill them in
      mock.patch.object(theirs, 'load_state_dict_from_url'),
      mock.patch.object(torch.nn.Module, 'load_state_dict'),
    ):
      network = theirs.InceptionV3([3]).eval().to(where)
    images = torch.as_tensor(self._images()).permute(0, 3, 1, 2)

    def extract() -> Any:
      with torch.no_grad():
        found = network(images.to(where) / 255)[0]
        return found.flatten(1).cpu().numpy()

    count = sum(each.numel() for each in network.parameters())
    return count, {'features': extract}

  def _images(self) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (self.batch_size, self.side, self.side, 3)
    return rng.integers(0, 256, shape, np.uint8)
