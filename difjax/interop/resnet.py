"""The weights of CIFAR-10's ResNets by Yerlan Idelbayev, BSD-2.

Files of torch.save with `state_dict`, names below `module.`. The file's block
`layerI.J` is `layerI_J` here, with each norm in the convolution before it. The
networks read images standardised with the statistics of ImageNet.
"""

from __future__ import annotations

import os
import re

from difjax import errors
from difjax.interop import feature_files
from difjax.metrics import features, resize, resnet
from difjax.typing import Params

_SITE = (
  'https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/'
  'pretrained_models/')
RESNET_20 = feature_files.Published(
  file='resnet20-12fca82f.th', address=f'{_SITE}resnet20-12fca82f.th',
  sha256='12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8')
RESNET_56 = feature_files.Published(
  file='resnet56-4bfd9763.th', address=f'{_SITE}resnet56-4bfd9763.th',
  sha256='4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367')
CONVENTION = resize.Convention(
  matrix=resize.corner_bilinear,
  zero=(255 * 0.485, 255 * 0.456, 255 * 0.406),
  unit=(255 * 0.229, 255 * 0.224, 255 * 0.225))
_EPSILON = 1e-5  # of the batch norms
_BLOCK = re.compile(r'module\.layer1\.(\d+)\.conv1\.weight')
_SIDE = 32


def params(found: feature_files.Found) -> tuple[int, Params]:
  """Returns the blocks a group, and the parameters of `CifarResNet`.

  Raises:
    CheckpointError: an array is missing, unknown or of another shape.
  """
  blocks = sum(map(bool, map(_BLOCK.fullmatch, found.arrays)))
  if not blocks:
    raise errors.CheckpointError(
      f'{found.path} is no ResNet of CIFAR-10: it lacks '
      'module.layer1.0.conv1.weight')
  taken = feature_files.Taken(found, 'module.')
  taken.skip('.num_batches_tracked')
  narrow = resnet.WIDTHS[0]
  tree = {'conv1': taken.normed('conv1', 'bn1', (3, 3, 3, narrow), _EPSILON)}
  for i, width in enumerate(resnet.WIDTHS, 1):
    for j in range(blocks):
      inputs = (narrow, width)
      tree[f'layer{i}_{j}'] = {
        f'conv{k}': taken.normed(
          f'layer{i}.{j}.conv{k}', f'layer{i}.{j}.bn{k}',
          (3, 3, inputs[k - 1], width), _EPSILON)
        for k in (1, 2)}
      narrow = width
  bias = taken.take('linear.bias', (None,))
  kernel = taken.take('linear.weight', (len(bias), narrow)).T
  tree['linear'] = dict(kernel=kernel, bias=bias)
  taken.finish()
  return blocks, tree


def load(
  path: str | os.PathLike[str] | None = None,
  published: feature_files.Published = RESNET_56,
) -> features.Extractor:
  """Loads a classifier of CIFAR-10, whose pooled features give fd_resnet56.

  Args:
    path: of the weights; None for the published file in its folder.
    published: which network, when the path is not given.

  Raises:
    DataError: there is no such file.
    CheckpointError: it holds other weights.
  """
  found = feature_files.read(published, path)
  blocks, tree = params(found)
  return features.Extractor(
    network=resnet.CifarResNet(blocks, len(tree['linear']['bias'])),
    params=tree, convention=CONVENTION, size=(_SIDE, _SIDE),
    sha256=found.sha256, published=found.sha256 == published.sha256,
    family=f'resnet{6 * blocks + 2}')
