"""The names of the layers of score SDE's RefineNets and its classifier.

The two official codes name the same layers of a RefineNet differently: Flax by
class and place, PyTorch by attribute. Here they stand side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

Names = tuple[str, str, str]  # of one layer: ours, in JAX, in PyTorch


def refinenet(stages: str, *, conditional: bool) -> Iterator[Names]:
  """Lists the layers of a RefineNet.

  Args:
    stages: PyTorch's names of the stages, separated by spaces.
    conditional: it is NCSN.
  """
  names = stages.split()
  word = 'Cond' if conditional else ''
  norm = 'InstanceNorm2dPlus'
  norm = f'Conditional{norm}' if conditional else norm
  yield 'stem', 'Conv_0', 'begin_conv'
  yield 'head', 'Conv_1', 'end_conv'
  yield 'head_norm', f'{norm}_0', 'normalizer'
  dilated = len(names) - 2
  for i, name in enumerate(names):
    for j in range(2):
      yield from _residual(
        f'stage_{i}_block_{j}',
        f'{"Conditional" * conditional}ResidualBlock_{2 * i + j}',
        f'res{name}.{j}', norm, down=i > 0 and j == 0, dilated=i >= dilated)
  last = len(names) - 1
  for i, name in enumerate(_mirrored(names)):
    yield from _refine(
      f'refine_{i}', f'{word}RefineBlock_{last - i}', f'refine{name}', word,
      norm, sources=1 if i == last else 2, units=1 if i else 3)


def _mirrored(names: list[str]) -> list[str]:
  """PyTorch's names of the refinements of the stages of those names."""
  whole = [name for name in names if len(name) == 1]
  turned = dict(zip(whole, reversed(whole), strict=True))
  return [turned.get(name, name) for name in names]


def _residual(
  ours: str, flax: str, torch: str, norm: str, *, down: bool, dilated: bool
) -> Iterator[Names]:
  """Lists the layers of a residual block."""
  for n in range(2):
    yield f'{ours}/norm_{n}', f'{flax}.{norm}_{n}', f'{torch}.normalize{n + 1}'
  yield f'{ours}/conv_0', f'{flax}.Conv_0', f'{torch}.conv1'
  if down and not dilated:
    yield (f'{ours}/conv_1', f'{flax}.ConvMeanPool_0.Conv_0',
           f'{torch}.conv2.conv')
    yield (f'{ours}/shortcut', f'{flax}.ConvMeanPool_1.Conv_0',
           f'{torch}.shortcut.conv')
    return
  yield f'{ours}/conv_1', f'{flax}.Conv_1', f'{torch}.conv2'
  if down:
    yield f'{ours}/shortcut', f'{flax}.Conv_2', f'{torch}.shortcut'


def _refine(
  ours: str, flax: str, torch: str, word: str, norm: str, sources: int,
  units: int
) -> Iterator[Names]:
  """Lists the layers of a refinement."""
  parts = [(f'source_{k}', f'adapt_convs.{k}', 2) for k in range(sources)]
  parts.append(('units', 'output_convs', units))
  for k, (mine, theirs, blocks) in enumerate(parts):
    for n in range(2 * blocks):
      place = f'{torch}.{theirs}.{n // 2 + 1}_{n % 2 + 1}'
      inner = f'{flax}.{word}RCUBlock_{k}'
      yield f'{ours}/{mine}/conv_{n}', f'{inner}.Conv_{n}', f'{place}_conv'
      if word:
        yield f'{ours}/{mine}/norm_{n}', f'{inner}.{norm}_{n}', f'{place}_norm'
  joints = [('pooling', 'CRP', 'crp')]
  if sources > 1:
    joints.append(('fusion', 'MSF', 'msf'))
  for mine, block, theirs in joints:
    for n in range(2):
      inner, place = f'{flax}.{word}{block}Block_0', f'{torch}.{theirs}'
      yield f'{ours}/{mine}_conv_{n}', f'{inner}.Conv_{n}', f'{place}.convs.{n}'
      if word:
        yield (f'{ours}/{mine}_norm_{n}', f'{inner}.{norm}_{n}',
               f'{place}.norms.{n}')


def wideresnet(blocks: int) -> Iterator[tuple[str, str]]:
  """Lists the layers of the classifier: ours, and in JAX.

  Args:
    blocks: in each of its three groups.
  """
  yield 'encoding', 'GaussianFourierProjection_0'
  yield 'time/hidden', 'Dense_0'
  yield 'time/out', 'Dense_1'
  yield 'stem', 'init_conv'
  yield 'head_norm/norm', 'pre-pool-bn'
  yield 'head', 'Dense_2'
  for group, block in itertools.product(range(3), range(blocks)):
    ours = f'group_{group}_block_{block}'
    theirs = f'WideResnetGroup_{group}.WideResnetBlock_{block}'
    for mine, name in (
        ('norm_0/norm', 'init_bn'), ('conv_0', 'conv1'), ('emb', 'Dense_0'),
        ('norm_1/norm', 'bn_2'), ('conv_1', 'conv2')):
      yield f'{ours}/{mine}', f'{theirs}.{name}'
