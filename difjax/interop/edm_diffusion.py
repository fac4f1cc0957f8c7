"""EDM's preconditionings and losses in terms of this project.

The preconditionings are those of the table in `edm`. All are trained over noise
levels sigma, the time of our process EDM: VP's and VE's losses draw theirs by
the times of those processes.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from difjax import errors
from difjax.interop import base, edm_arguments
from difjax.processes import discrete, vp

_SAMPLER = (0.002, 80.0)  # the sampler's own range of sigma
_MOST_LEVELS = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preconditioning:
  """A preconditioning, and the loss that goes with it.

  Attributes:
    bounds: sigma_min and sigma_max of the process.
    target: specification of what F is.
    scale: of c_in.
    noise: of the time input.
    times: of the loss.
    weighting: of the loss.
    learned_range: F has a learned variance beside it.
  """

  bounds: tuple[float, float]
  target: base.Spec
  scale: base.Spec
  noise: base.Spec
  times: base.Spec
  weighting: base.Spec
  learned_range: bool = False


def preconditioning(
  arguments: edm_arguments.Arguments, loss: Any = None
) -> Preconditioning:
  """Returns what the arguments say, with the loss of a file.

  Args:
    arguments: of the constructor.
    loss: the official loss as `persistent` reads it; for None and those that
      are not known, the one that goes with the preconditioning.

  Raises:
    ConfigError: an argument is off.
  """
  found = _PRECONDITIONINGS[arguments.kind](arguments)
  return _LOSSES.get(getattr(loss, 'kind', ''), _own)(found, loss)


def buffers(arguments: edm_arguments.Arguments) -> dict[str, np.ndarray]:
  """Returns what a preconditioning keeps beside its network.

  That is iDDPM's levels `u`, the highest first, and 0 after the last.
  """
  if 'C_1' not in arguments:
    return {}
  logsnr = discrete.CosineBetas(**_cosine(arguments)).logsnr_table()
  levels = np.append(np.exp(-0.5 * logsnr[::-1]), 0.0)
  return {'u': levels.astype(np.float32)}


def _edm(arguments: edm_arguments.Arguments) -> Preconditioning:
  """EDM's own."""
  low, high = (arguments.number(f'sigma_{end}') for end in ('min', 'max'))
  data_std = arguments.number('sigma_data')
  return Preconditioning(
    bounds=(max(_SAMPLER[0], low), min(_SAMPLER[1], high)),
    target=dict(type='denoising.Preconditioned', data_std=data_std),
    scale=dict(type='denoising.UnitVariance', data_std=data_std),
    noise=dict(type='denoising.LogSigma', factor=0.25),
    times=dict(type='objectives.LogNormalTimes'),
    weighting=dict(type='objectives.EDMWeighting', data_std=data_std))


def _vp(arguments: edm_arguments.Arguments) -> Preconditioning:
  """VP as noise levels."""
  slope, beta_min = (arguments.number(f'beta_{name}') for name in ('d', 'min'))
  process = vp.VP(
    beta_min=beta_min, beta_max=beta_min + slope,
    t_min=arguments.number('epsilon_t'))
  spec = _vp_spec(process)
  ends = (
    0.5 * t**2 * slope + t * beta_min for t in (process.t_min, process.t_max))
  low, high = (math.sqrt(math.expm1(integral)) for integral in ends)
  return Preconditioning(
    bounds=(low, high),
    target=dict(type='denoising.Noise'),
    scale=dict(type='denoising.UnitVariance', data_std=1.0),
    noise=dict(
      type='denoising.TimeOf', process=spec,
      factor=float(arguments.count('M') - 1)),
    times=_equivalent(spec, 'Uniform'), weighting=_even())


def _vp_spec(process: vp.VP) -> base.Spec:
  return dict(
    type='processes.VP', beta_min=process.beta_min, beta_max=process.beta_max,
    t_min=process.t_min)


def _ve(arguments: edm_arguments.Arguments) -> Preconditioning:
  """VE as noise levels."""
  low, high = (arguments.number(f'sigma_{end}') for end in ('min', 'max'))
  return Preconditioning(
    bounds=(low, high),
    target=dict(type='denoising.Noise', factor=-1.0),
    scale=dict(type='denoising.Unscaled'),
    noise=dict(type='denoising.LogSigma', factor=1.0, unit=2.0),
    times=_ve_times(low, high), weighting=_even())


def _ve_times(low: float, high: float) -> base.Spec:
  spec = dict(type='processes.VE', sigma_min=low, sigma_max=high)
  return _equivalent(spec, 'Uniform')


def _cosine(arguments: edm_arguments.Arguments) -> dict[str, Any]:
  """The arguments of the levels of improved DDPM.

  Raises:
    ConfigError: there are more than any model has, whose table would fill the
      memory.
  """
  levels = arguments.count('M', 2)
  if levels > _MOST_LEVELS:
    raise errors.ConfigError(f'EDM: M is {levels}, more than {_MOST_LEVELS}')
  return dict(
    levels=levels, offset=arguments.number('C_2'),
    beta_max=1.0 - arguments.number('C_1'))


def _iddpm(arguments: edm_arguments.Arguments) -> Preconditioning:
  """The levels of improved DDPM."""
  process = _cosine(arguments)
  logsnr = discrete.CosineBetas(**process).logsnr_table()
  spec = dict(type='processes.CosineBetas', **process)
  return Preconditioning(
    bounds=tuple(float(end) for end in np.exp(-0.5 * logsnr[[0, -1]])),
    target=dict(type='denoising.Noise'),
    scale=dict(type='denoising.UnitVariance', data_std=1.0),
    noise=dict(type='denoising.NearestLevel', process=spec),
    times=_equivalent(spec, 'Level'), weighting=_even(), learned_range=True)


def _equivalent(process: base.Spec, times: str) -> base.Spec:
  return dict(
    type='objectives.EquivalentTimes', process=process,
    times=dict(type=f'objectives.{times}Times'))


def _even() -> base.Spec:
  """A weight of 1 on the noise's error: 1 / sigma^2 on that of D."""
  return dict(
    type='objectives.UniformWeighting', of=dict(type='denoising.Noise'))


def _own(found: Preconditioning, _: Any) -> Preconditioning:
  """Keeps the loss that goes with a preconditioning."""
  return found


def _edm_loss(found: Preconditioning, loss: Any) -> Preconditioning:
  mean, std, data_std = (
    float(loss.state[name]) for name in ('P_mean', 'P_std', 'sigma_data'))
  return dataclasses.replace(
    found,
    times=dict(type='objectives.LogNormalTimes', mean=mean, std=std),
    weighting=dict(type='objectives.EDMWeighting', data_std=data_std))


def _vp_loss(found: Preconditioning, loss: Any) -> Preconditioning:
  slope, beta_min, t_min = (
    float(loss.state[name]) for name in ('beta_d', 'beta_min', 'epsilon_t'))
  process = vp.VP(beta_min=beta_min, beta_max=beta_min + slope, t_min=t_min)
  return dataclasses.replace(
    found, times=_equivalent(_vp_spec(process), 'Uniform'), weighting=_even())


def _ve_loss(found: Preconditioning, loss: Any) -> Preconditioning:
  low, high = (float(loss.state[f'sigma_{end}']) for end in ('min', 'max'))
  return dataclasses.replace(
    found, times=_ve_times(low, high), weighting=_even())


_LOSSES: Final[
  Mapping[str, Callable[[Preconditioning, Any], Preconditioning]]
] = types.MappingProxyType(
  dict(EDMLoss=_edm_loss, VPLoss=_vp_loss, VELoss=_ve_loss))
_PRECONDITIONINGS: Final[
  Mapping[str, Callable[[edm_arguments.Arguments], Preconditioning]]
] = types.MappingProxyType(dict(
  EDMPrecond=_edm, VPPrecond=_vp, VEPrecond=_ve, iDDPMPrecond=_iddpm))
