"""The weights of FID's Inception, as their port to PyTorch lays them out.

`X.conv.weight` and the four arrays of `X.bn` become the kernel and the bias of
one convolution: equation (1) of `metrics.inception`, in float64.
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
from flax import traverse_util

from difjax.interop import feature_files
from difjax.metrics import features, inception, resize
from difjax.typing import Params, Shape

WEIGHTS = feature_files.Published(
  file='pt_inception-2015-12-05-6726825d.pth',
  address=(
    'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/'
    'pt_inception-2015-12-05-6726825d.pth'),
  sha256='6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2')
_EPSILON = 1e-3  # of the batch norms
_DENSE = frozenset({'fc'})  # layers without a batch norm


def params(found: feature_files.Found) -> Params:
  """Returns the parameters of `metrics.inception.Inception`, float32.

  Raises:
    CheckpointError: an array is missing, unknown or of another shape.
  """
  taken = feature_files.Taken(found)
  taken.skip('.num_batches_tracked')
  leaves = {}
  for path, shape in _shapes().items():
    name = path.replace('/', '.')
    if path in _DENSE:
      weight = taken.take(f'{name}.weight', shape[:1:-1])
      leaves[path] = dict(
        kernel=weight.T[None, None],
        bias=taken.take(f'{name}.bias', shape[-1:]))
    else:
      leaves[path] = taken.normed(
        f'{name}.conv', f'{name}.bn', shape, _EPSILON)
  taken.finish()
  return traverse_util.unflatten_dict(leaves, sep='/')


def load(
  path: str | os.PathLike[str] | None = None,
  convention: resize.Convention = resize.TENSORFLOW,
) -> features.Extractor:
  """Loads the network behind FID, sFID, KID and the Inception Score.

  Args:
    path: of the weights; None for the published file in its folder.
    convention: how images come to it. TENSORFLOW is that of ADM, EDM and
      torch-fidelity.

  Raises:
    DataError: there is no such file.
    CheckpointError: it holds other weights.
  """
  found = feature_files.read(WEIGHTS, path)
  return features.Extractor(
    network=inception.Inception(), params=params(found),
    convention=convention, size=(inception.SIDE, inception.SIDE),
    sha256=found.sha256, published=found.sha256 == WEIGHTS.sha256,
    family='inception')


def _shapes() -> dict[str, Shape]:
  """Returns the shapes of kernels by path of their layer."""
  images = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
  made = jax.eval_shape(
    inception.Inception().init, jax.random.key(0), images)['params']
  flat = traverse_util.flatten_dict(made, sep='/')
  return {path.removesuffix('/kernel'): leaf.shape
          for path, leaf in flat.items() if path.endswith('/kernel')}
