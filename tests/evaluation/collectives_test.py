"""Collectives in programs written by hand, and in compiled ones."""

from __future__ import annotations

import functools
import textwrap

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from difjax.evaluation import collectives, hlo

LOOP = """
  HloModule step, is_scheduled=true

  %add (a: f32[], b: f32[]) -> f32[] {
    %a = f32[] parameter(0)
    %b = f32[] parameter(1)
    ROOT %sum = f32[] add(%a, %b)
  }

  %body (carry: (s32[], f32[8], bf16[2,4])) -> (s32[], f32[8], bf16[2,4]) {
    %carry = (s32[], f32[8]{0}, /*index=2*/bf16[2,4]{1,0}) parameter(0)
    %i = s32[] get-tuple-element(%carry), index=0
    %x = f32[8]{0:T(128)} get-tuple-element(%carry), index=1
    %w = bf16[2,4]{1,0} get-tuple-element(%carry), index=2
    %g = bf16[16,4]{1,0:T(8,128)(2,1)S(1)} all-gather(%w), channel_id=1, \
replica_groups=[1,8]<=[8], dimensions={0}
    %r = f32[8]{0} all-reduce(%x), channel_id=2, to_apply=%add
    ROOT %t = (s32[], f32[8]{0}, bf16[2,4]{1,0}) tuple(%i, %r, %w)
  }

  %condition (carry: (s32[], f32[8], bf16[2,4])) -> pred[] {
    %carry = (s32[], f32[8]{0}, bf16[2,4]{1,0}) parameter(0)
    %i = s32[] get-tuple-element(%carry), index=0
    %n = s32[] constant(5)
    ROOT %less = pred[] compare(%i, %n), direction=LT
  }

  ENTRY %main (p: (s32[], f32[8], bf16[2,4])) -> (s32[], f32[8], bf16[2,4]) {
    %p = (s32[], f32[8]{0}, bf16[2,4]{1,0}) parameter(0)
    ROOT %loop = (s32[], f32[8]{0}, bf16[2,4]{1,0}) while(%p), \
condition=%condition, body=%bodyNOTE
  }
"""


def main(*lines, before=''):
  """A program of some lines."""
  inside = '\n'.join(f'  {line}' for line in lines)
  return f'{before}\nENTRY %main (x: f32[8]) -> f32[8] {{\n{inside}\n}}\n'


def counted(text):
  """(count, bytes, cost) of each kind and dtype."""
  return {
    (total.kind, total.dtype): (total.count, total.bytes, total.cost)
    for total in collectives.count(text)
  }


@pytest.mark.parametrize(('note', 'rounds'), [
  ('', 5),  # what the condition compares with
  (', backend_config={"known_trip_count":{"n":"3"},"x":1}', 3),
])
def test_loops_count_as_often_as_they_run(note, rounds):
  text = textwrap.dedent(LOOP).replace('NOTE', note)
  assert counted(text) == {
    ('all-gather', 'bf16'): (rounds, rounds * 128, rounds * 128),
    ('all-reduce', 'f32'): (rounds, rounds * 32, rounds * 64),
  }


def test_loops_that_do_two_rounds_at_once():
  text = textwrap.dedent(LOOP).replace('NOTE', '').replace(
    'ROOT %t = (s32[], f32[8]{0}, bf16[2,4]{1,0}) tuple(%i,',
    '%two = s32[] constant(2)\n  %j = s32[] add(%i, %two)\n  '
    'ROOT %t = (s32[], f32[8]{0}, bf16[2,4]{1,0}) tuple(%j,',
  )  # fmt: skip
  count, _, _ = counted(text)['all-gather', 'bf16']
  assert count == 3  # at 0, 2 and 4 of 5


def test_the_whole_side_counts():
  found = counted(main(
    '%x = f32[8]{0} parameter(0)',
    '%s = f32[2]{0} reduce-scatter(%x), channel_id=1, dimensions={0}',
    '%g = f32[16]{0} all-gather(%s), channel_id=2, dimensions={0}',
    'ROOT %p = f32[8]{0} collective-permute(%x), channel_id=3',
  ))  # fmt: skip
  assert found == {
    ('reduce-scatter', 'f32'): (1, 32, 32),
    ('all-gather', 'f32'): (1, 64, 64),
    ('collective-permute', 'f32'): (1, 32, 32),
  }


def test_the_halves_of_an_asynchronous_one_are_one():
  found = counted(main(
    '%x = f32[8]{0} parameter(0)',
    '%b = (f32[8]{0}, f32[64]{0}) all-gather-start(%x), channel_id=1',
    '%e = f32[64]{0} all-gather-done(%b)',
    '%c = (f32[8]{0}, f32[8]{0}, u32[]{:S(2)}, u32[]{:S(2)}) '
    'collective-permute-start(%x), channel_id=2',
    '%d = f32[8]{0} collective-permute-done(%c)',
    '%r = f32[8]{0} all-reduce-start(%x), channel_id=3, to_apply=%add',
    'ROOT %s = f32[8]{0} all-reduce-done(%r)',
  ))  # fmt: skip
  assert found == {
    ('all-gather', 'f32'): (1, 256, 256),
    ('collective-permute', 'f32'): (1, 32, 32),
    ('all-reduce', 'f32'): (1, 32, 64),
  }


def fused(name, chain):
  """A fusion that has a step of a gather on channel 7 in it."""
  return (
    f'%{name} (q: f32[8]) -> f32[64] {{\n'
    '  %q = f32[8]{0} parameter(0)\n'
    '  ROOT %g = f32[64]{0} all-gather(%q), channel_id=7, '
    f'frontend_attributes={{chain_id="{chain}"}}\n}}\n'
  )


def test_a_chain_of_fusions_gathers_once():
  before = fused('one', 0) + fused('two', 0) + fused('three', 1)
  calls = [
    f'%{name}.0 = f32[64]{{0}} fusion(%x), kind=kOutput, calls=%{name}'
    for name in ('one', 'two', 'three')
  ]
  found = counted(main('%x = f32[8]{0} parameter(0)', *calls, before=before))
  assert found == {('all-gather', 'f32'): (2, 512, 512)}


SCATTER = """
%scatter (q: bf16[64], i: s32[]) -> bf16[8] {
  %q = bf16[64]{0} parameter(0)
  %i = s32[] parameter(1)
  %r = bf16[64]{0} all-reduce(%q), channel_id=1, to_apply=%add
  %b = bf16[64]{0} bitcast(%r)
  ROOT %s = bf16[8]{0} dynamic-slice(%b, %i), dynamic_slice_sizes={8}
}
"""
CALL = '%f = bf16[8]{0} fusion(%x, %i), kind=kCustom, calls=%scatter'


@pytest.mark.parametrize(('before', 'kind', 'cost'), [
  (SCATTER, 'reduce-scatter', 128),
  (SCATTER.replace('%b, %i', '%q, %i'), 'all-reduce', 256),  # of another array
])
def test_an_all_reduce_that_is_cut_at_once_is_a_reduce_scatter(
  before, kind, cost
):
  found = counted(main('%x = bf16[64]{0} parameter(0)', CALL, before=before))
  assert found == {(kind, 'bf16'): (1, 128, cost)}


def test_several_arrays_at_once():
  found = counted(main(
    '%x = f32[8]{0} parameter(0)', '%y = bf16[4]{0} parameter(1)',
    '%r = (f32[8]{0}, bf16[4]{0}) all-reduce(%x, %y), channel_id=1',
  ))  # fmt: skip
  assert found[('all-reduce', 'f32')] == (1, 32, 64)
  assert found[('all-reduce', 'bf16')] == (0, 8, 16)


def test_width_is_of_what_is_sent_most():
  total = functools.partial(collectives.Total, count=1)
  totals = [
    total(kind='all-gather', dtype='f32', bytes=10),
    total(kind='all-gather', dtype='bf16', bytes=90),
    total(kind='all-reduce', dtype='f32', bytes=900),
  ]
  assert collectives.width(totals, 'all-gather') == 2
  assert collectives.width(totals, 'reduce-scatter', 'all-reduce') == 4
  assert collectives.width(totals, 'all-to-all') == 4  # nothing to go by


def test_a_compiled_program_says_what_it_was_made_of():
  mesh = jax.make_mesh(
    (8,), ('a',), axis_types=(jax.sharding.AxisType.Auto,)
  )

  @functools.partial(
    jax.shard_map, mesh=mesh, in_specs=PartitionSpec('a'),
    out_specs=PartitionSpec('a'),
  )  # fmt: skip
  def step(x):
    def turn(x, _):
      return jnp.sin(jax.lax.ppermute(x, 'a', [(i, i ^ 1) for i in range(8)])
                     ), None

    x, _ = jax.lax.scan(turn, x, length=6)
    whole = jax.lax.all_gather(x, 'a', tiled=True)
    return jax.lax.psum_scatter(jnp.cos(whole), 'a', tiled=True)

  text = jax.jit(step).lower(jnp.zeros(32)).compile().as_text()
  assert counted(text) == {
    ('collective-permute', 'f32'): (6, 6 * 16, 6 * 16),
    ('all-gather', 'f32'): (1, 128, 128),
    ('reduce-scatter', 'f32'): (1, 128, 128),
  }


def test_what_is_no_program_is_refused():
  with pytest.raises(ValueError, match='ENTRY'):
    hlo.read('no program')


@pytest.mark.parametrize(('kind', 'size'), [
  ('f32[]', 4),
  ('bf16[1,1152,3456]{1,0,2:T(2,128)(2,1)S(1)}', 2 * 1152 * 3456),
  ('(pred[3]{0}, s8[2,2]{1,0}, f8e4m3fn[5], (u32[2], f64[]))', 3 + 4 + 5 + 16),
  ('token[]', 0),
])
def test_sizes_of_types(kind, size):
  assert hlo.size(kind) == size
