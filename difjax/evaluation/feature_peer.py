"""FID's Inception beside pytorch-fid's: the same work, timed in turn.

Both begin with the same batch of small images, resize it by the same
convention, and end with the features of FID on the host; float32 and random
weights on either side, on the host's cores. pytorch-fid is for this alone and
no dependency of difjax:

  pip install torch torchvision pytorch-fid
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import operator
import statistics
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import numpy as np

from difjax import errors, pytree
from difjax.evaluation import bench
from difjax.metrics import features, inception, resize

_Actions = dict[str, Callable[[], object]]
_SPREAD = 0.02  # of random weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class PytorchFidPeer:
  """pytorch-fid's network, and what both sides are timed on.

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
      ConfigError: PyTorch or pytorch-fid is not installed.
    """
    try:
      import torch
      from pytorch_fid import inception as theirs
    except ImportError as error:
      raise errors.ConfigError(
        f'a peer needs {error.name}: pip install torch torchvision pytorch-fid'
      ) from error
    with (  # its constructor would fetch weights and fill them in
      mock.patch.object(theirs, 'load_state_dict_from_url'),
      mock.patch.object(torch.nn.Module, 'load_state_dict'),
    ):
      network = theirs.InceptionV3([3]).eval()
    images = torch.as_tensor(self._images()).permute(0, 3, 1, 2)

    def extract() -> Any:
      with torch.no_grad():
        return network(images / 255)[0].flatten(1).numpy()

    count = sum(each.numel() for each in network.parameters())
    return count, {'features': extract}

  def compare(self, rounds: int) -> dict[str, dict[str, Any]]:
    """Times both sides in turn.

    Args:
      rounds: of each, after one that does not count.

    Returns:
      The median seconds an image of both, the median of the rounds' ratios,
      theirs over ours, and their range; and the parameters of both. Theirs has
      no head, and the norms that ours has folded into convolutions.
    """
    count, theirs = self.actions()
    own_count, mine = self._ours()
    mine()
    theirs['features']()
    pairs = [(bench.seconds(mine), bench.seconds(theirs['features']))
             for _ in range(rounds)]
    own, other = zip(*pairs, strict=True)
    ratios = [t / o for o, t in pairs]
    return {
      'parameters': {'ours': own_count, 'theirs': count},
      'features': {
        'ours_s': statistics.median(own) / self.batch_size,
        'theirs_s': statistics.median(other) / self.batch_size,
        'ratio': statistics.median(ratios),
        'range': [min(ratios), max(ratios)]}}

  def _images(self) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (self.batch_size, self.side, self.side, 3)
    return rng.integers(0, 256, shape, np.uint8)

  def _ours(self) -> tuple[int, Callable[[], object]]:
    """Returns the number of our parameters, and our side."""
    rng, network = np.random.default_rng(0), inception.Inception()
    size = (inception.SIDE, inception.SIDE)
    made = jax.eval_shape(
      network.init, jax.random.key(0), np.zeros((1, *size, 3), np.float32))
    draw = lambda leaf: rng.normal(0, _SPREAD, leaf.shape).astype(leaf.dtype)
    params = jax.tree.map(draw, made['params'])
    extractor = features.Extractor(
      network=network, params=params, convention=resize.PYTORCH_FID, size=size,
      sha256='', published=False, family='random')
    call = extractor.function(operator.attrgetter('pool_3'))
    placed, images = jax.device_put(params), self._images()
    return pytree.count(params), lambda: np.asarray(call(placed, images))
