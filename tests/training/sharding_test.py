"""Sharding rules: which one decides, and what they may not leave open."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from difjax import errors, pytree, training
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
