"""Sharding rules: which one decides, and what they may not leave open."""

from __future__ import annotations

import math
import re

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from difjax import errors, networks, pytree, training
from difjax.training import mesh as meshes
from difjax.training import sharding
from difjax.training import trainer as trainers
from tests import tiny


def rule(pattern, tactic):
  return training.Rule(pattern=pattern, tactic=tactic)


def tree(**shapes):
  return {
    name: jax.ShapeDtypeStruct(shape, np.float32)
    for name, shape in shapes.items()
  }


@pytest.fixture(scope='module')
def mesh():
  return training.Mesh(data=2, fsdp=4).build()


def specs(shapes, rules, mesh):
  placed = training.shardings(tree(**shapes), rules, mesh)
  return {name: sharding.spec for name, sharding in placed.items()}


def test_the_first_rule_that_matches_decides(mesh):
  split = training.FSDP(min_size=1)
  rules = [rule('head', training.Replicate()), rule('.*', split)]
  shapes = {'head_kernel': (8, 8), 'kernel': (8, 8)}
  found = specs(shapes, rules, mesh)
  assert found['head_kernel'] == PartitionSpec()
  assert found['kernel'] == PartitionSpec('fsdp')


def test_a_parameter_without_a_rule_is_named(mesh):
  nested = {'block': {'bias': tree(x=(4,))['x'], 'kernel': tree(x=(4,))['x']}}
  rules = [rule('kernel$', training.Replicate())]
  with pytest.raises(errors.ConfigError, match=r'matches .*block/bias'):
    training.shardings(nested, rules, mesh)


@pytest.mark.parametrize('order', [1, -1])
def test_a_rule_that_decides_nothing_is_named(order, mesh):
  """Whether its pattern is in no path, or stands behind one that takes all."""
  rules = [rule('.*', training.Replicate()), rule('kernal', training.FSDP())]
  with pytest.raises(errors.ConfigError, match="'kernal' matches no") as e:
    training.shardings(tree(kernel=(4,)), rules[::order], mesh)
  assert '\n' not in str(e.value)


@pytest.mark.parametrize(
  ('shape', 'fields', 'spec'),
  [
    ((8, 16), {}, (None, 'fsdp')),  # the longest axis
    ((16, 8), {}, ('fsdp',)),
    ((16, 18), {}, ('fsdp',)),  # 4 does not divide the longest
    ((6, 7), {}, ()),  # nor any
    ((12, 16, 8), {'skip': 1}, (None, 'fsdp')),
    ((64, 6, 5), {'skip': 1}, ()),  # the axis of a scan stays whole
    ((64, 64), {'min_size': 64 * 64}, ('fsdp',)),
    ((64, 64), {'min_size': 64 * 64 + 1}, ()),
    ((), {}, ()),
  ],
)
def test_fsdp(shape, fields, spec, mesh):
  tactic = training.FSDP(**{'min_size': 1, **fields})
  assert tactic(shape, mesh) == PartitionSpec(*spec)


def test_fsdp_on_a_mesh_without_it():
  mesh = training.Mesh().build()
  assert training.FSDP(min_size=1)((64, 64), mesh) == PartitionSpec()


@pytest.mark.parametrize(
  ('shape', 'axis', 'sizes', 'spec'),
  [
    ((3, 8, 32), -1, {}, (None, 'fsdp', 'tensor')),  # outputs of a scan
    ((3, 32, 8), -2, {}, (None, 'tensor', 'fsdp')),  # inputs
    ((3, 32), -1, {}, (None, 'tensor')),  # of a bias nothing is left
    ((3, 8, 31), -1, {}, (None, 'fsdp')),  # which tensor does not divide
    ((3, 7, 32), -1, {}, (None, None, 'tensor')),  # nor fsdp
    ((3, 8, 32), -1, {'tensor': 1, 'fsdp': 8}, (None, None, 'fsdp')),
    ((3, 8, 32), -1, {'fsdp': 1, 'tensor': 8}, (None, None, 'tensor')),
  ],
)
def test_tensor(shape, axis, sizes, spec):
  mesh = training.Mesh(**{'data': 1, 'fsdp': 2, 'tensor': 4, **sizes}).build()
  rest = training.FSDP(min_size=1, skip=1)
  tactic = training.Tensor(axis=axis, rest=rest)
  found = [*tactic(shape, mesh)]
  while found and found[-1] is None:
    found.pop()
  assert tuple(found) == spec


def test_tensor_leaves_small_arrays_to_itself_alone():
  mesh = training.Mesh(data=1, fsdp=2, tensor=4).build()
  tactic = training.Tensor(axis=-1, rest=training.FSDP(min_size=8 * 32 + 1))
  assert tactic((8, 32), mesh) == PartitionSpec(None, 'tensor')
  assert tactic((16, 32), mesh) == PartitionSpec('fsdp', 'tensor')


def test_the_bytes_of_a_device_and_those_on_all(mesh):
  rules = [rule('split', training.FSDP(min_size=1)),
           rule('.*', training.Replicate())]  # fmt: skip
  shapes = tree(split=(8, 16), whole=(5,))
  placed = jax.tree.map(
    lambda leaf, place: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=place
    ),
    shapes, training.shardings(shapes, rules, mesh),
  )  # fmt: skip
  assert sharding.resident(placed) == (4 * 8 * 16 // 4 + 4 * 5, 4 * 5)


def test_the_rules_of_a_dit_leave_its_scan_whole():
  """And split each of the four matrices that Megatron splits."""
  mesh = training.Mesh(data=2, fsdp=2, tensor=2).build()
  trainer = tiny.trainer(rules=tiny.DIT_RULES)
  _, abstract = trainers.compiled(trainer, mesh)
  found = {
    path: tuple(leaf.sharding.spec)
    for path, leaf in pytree.named_leaves(abstract.params)
    if 'tensor' in leaf.sharding.spec
  }
  assert {path.partition('blocks/')[2]: s for path, s in found.items()} == {
    'attention/qkv/kernel': (None, 'tensor', 'fsdp'),
    'attention/out/kernel': (None, 'tensor', 'fsdp'),
    'mlp_hidden/kernel': (None, 'fsdp', 'tensor'),
    'mlp_hidden/bias': (None, 'tensor'),
    'mlp_out/kernel': (None, 'tensor', 'fsdp'),
  }


def test_moments_and_averages_lie_as_their_parameters():
  """And the axis of the scan over blocks is whole in all of them."""
  split = lambda **fields: training.FSDP(min_size=1, **fields)
  rules = (rule('blocks/', split(skip=1)), rule('.*', split()))
  trainer = tiny.trainer(rules=rules, mesh=tiny.FSDP)
  _, abstract = trainers.compiled(trainer, tiny.FSDP.build())
  params = dict(pytree.named_leaves(abstract.params))
  assert any('fsdp' in x.sharding.spec for x in params.values())
  seen = []
  for name, leaf in pytree.named_leaves(
    (abstract.opt_state, abstract.ema)
  ):
    for path, param in params.items():
      if name.endswith(f'/{path}'):
        assert leaf.sharding == param.sharding, name
        seen.append(path)
        break
  assert sorted(seen) == sorted(3 * list(params))  # mu, nu, main
  blocks = [x for path, x in params.items() if path.startswith('blocks/')]
  assert blocks
  for leaf in blocks:
    assert leaf.sharding.shard_shape(leaf.shape)[0] == leaf.shape[0] == 1


def collectives(text):
  """Returns (kind, sizes of what it gives) of a compiled program."""
  kinds = 'all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter'
  found = re.findall(rf'= (.+?) ({kinds})(?:-start)?\(', text)
  return [
    (kind, tuple(int(n) for n in sizes.split(',') if n))
    for result, kind in found
    for sizes in re.findall(r'\[([\d,]*)\]', result)
  ]


def test_tensor_splits_heads_and_gathers_no_activation():
  """Of 25 tokens a sum closes each of four halves of a block; no more."""
  mesh = training.Mesh(data=2, tensor=4).build()
  network = networks.DiT(patch=(2, 2), width=32, depth=2, heads=4)
  x, t = np.zeros((8, 10, 10, 1), np.float32), np.zeros(8, np.float32)
  loss = lambda params, x, t: (network.apply(params, x, t) ** 2).mean()
  params = jax.eval_shape(
    lambda: network.init(jax.random.key(0), x[:1], t[:1])
  )
  with jax.set_mesh(mesh):
    placed = training.shardings(params, tiny.DIT_RULES, mesh)
    batch = meshes.batch_sharding(mesh)
    text = (
      jax.jit(
        jax.grad(loss), in_shardings=(placed, batch, batch),
        out_shardings=placed,
      ).lower(params, x, t).compile().as_text()
    )  # fmt: skip
  of_tokens = [
    (kind, math.prod(shape))
    for kind, shape in collectives(text)
    if any(size % 25 == 0 for size in shape)  # tokens, also those as rows
  ]
  assert of_tokens == 4 * [('all-reduce', 4 * 25 * 32)]
  assert '[4,1,25,25]' in text  # a device's logits: its rows, its head
  assert '[4,4,25,25]' not in text
