"""What a function costs: its multiply-accumulates, read off its trace.

A product of matrices [.., m, k] and [.., k, n] counts m n k, a convolution its
outputs times the numbers of a filter; all else counts nothing. These are the
"Gflops" of the papers on transformers and U-Nets; a meter that counts a
multiplication and an addition as two has twice as many.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

import jax
from flax import linen as nn
from jax.extend import core


def multiply_accumulates(function: Callable[..., Any], *arguments: Any) -> int:
  """Counts the multiply-accumulates of a call.

  Of a loop of fixed length all rounds count, of one without it a single round,
  and of branches the dearest. Padding counts as numbers do.

  Args:
    function: what is called; it is traced, not run.
    *arguments: arrays, or trees of them or of their shapes.
  """
  return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def of_network(network: nn.Module, *inputs: Any) -> int:
  """Counts those of a network's forward pass.

  Args:
    network: a Linen module.
    *inputs: x, noise and perhaps cond, or their shapes.
  """
  variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
  return multiply_accumulates(network.apply, variables, *inputs)


def _count(jaxpr: core.Jaxpr) -> int:
  return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: core.JaxprEqn) -> int:
  name, params = equation.primitive.name, equation.params
  if name in _COUNTS:
    return _COUNTS[name](equation)
  if 'branches' in params:
    return max(_count(branch.jaxpr) for branch in params['branches'])
  rounds = params.get('length', 1)  # of a scan
  return rounds * sum(map(_count, _inside(params)))


def _inside(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
  """Yields what an equation calls."""
  for value in params.values():
    value = getattr(value, 'jaxpr', value)
    if isinstance(value, core.Jaxpr):
      yield value


def _product(equation: core.JaxprEqn) -> int:
  left = equation.invars[0].aval.shape
  (contracted, _), _ = equation.params['dimension_numbers']
  out = equation.outvars[0].aval.shape
  return math.prod(out) * math.prod(left[axis] for axis in contracted)


def _convolution(equation: core.JaxprEqn) -> int:
  kernel = equation.invars[1].aval.shape
  features = kernel[equation.params['dimension_numbers'].rhs_spec[0]]
  out = equation.outvars[0].aval.shape
  spread = math.prod(equation.params['lhs_dilation'])  # zeros put in between
  return math.prod(out) * math.prod(kernel) // features // spread


_COUNTS: Final = types.MappingProxyType({
  'dot_general': _product,
  'conv_general_dilated': _convolution,
})
