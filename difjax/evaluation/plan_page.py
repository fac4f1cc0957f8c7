"""A plan as text, as bars and as a page."""

from __future__ import annotations

from typing import Any

from difjax.evaluation import plan as plans
from difjax.evaluation import plots, report

_GIB = 2**30
_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB')
_BAR = 0.34  # inches


def text(plan: plans.Plan) -> str:
  """Returns a plan in lines, one a question."""
  axes = ' x '.join(f'{axis} {size}' for axis, size in plan.mesh.items())
  each = plan.batch / (plan.mesh['data'] * plan.mesh['fsdp'])
  lines = [
    f'devices      {plan.chips}: {plan.slice}; {axes}',
    f'batch        {plan.batch}, {each:g} a device, {plan.step}',
    f'parameters   {plan.parameters:,}',
    f'state        {size(plan.state_bytes)} a device, of which '
    f'{size(plan.replicated_bytes)} each device holds whole',
    f'memory       {_memory(plan)}',
    f'operations   {plan.flops:.4g}, none computed again counted',
    *_collectives(plan),
    f'roofline     {_roofline(plan)}',
    f'compiled in  {plan.compile_seconds:.0f} s, {plan.compile_work:.0f} s of '
    'a core; this process held at most '
    f'{size(plan.host_bytes)}',
    f'program      {plan.program[:12]}, '
    + ', '.join(f'{k} {v}' for k, v in plan.versions.items() if v),
  ]
  return '\n'.join(lines)


def page(name: str, plan: plans.Plan) -> str:
  """Returns a plan as an HTML document.

  Args:
    name: of the config.
    plan: its plan.
  """
  alt = 'Memory, collectives and the least time of a step, as bars'
  caption = (
    'Memory and collectives are those of the compiled program; the least times '
    'are computed.'
  )
  sections = (
    report.Section(
      title='What a step needs',
      figures=(report.Figure(png=bars(plan), caption=caption, alt=alt),),
    ),
    report.Section(
      title='In figures',
      details=(report.Details(summary='All of the plan', text=text(plan)),),
    ),
  )
  facts = {
    'devices': f'{plan.chips}',
    'parameters': f'{plan.parameters:,}',
    'memory a device': size(plan.memory_needed),
  }
  if plan.mfu is not None:
    facts['MFU at most'] = f'{plan.mfu:.0%}'
  return report.render(
    f'Plan of {name}', f'A {plan.step} step on {plan.slice}.', sections, facts
  )


def size(count: float) -> str:
  """Returns a number of bytes in three digits, such as '84.4 MiB'."""
  power = 0
  while count >= 1000 and power < len(_UNITS) - 1:
    count, power = count / 1024, power + 1
  return f'{count:.3g} {_UNITS[power]}'


def _memory(plan: plans.Plan) -> str:
  parts = ', '.join(f'{name} {size(n)}' for name, n in plan.memory.items())
  there = 'of an unknown size'
  if plan.memory_there:
    share = plan.memory_needed / plan.memory_there
    there = f'of {size(plan.memory_there)} ({share:.0%})'
  return f'{size(plan.memory_needed)} {there}: {parts}'


def _collectives(plan: plans.Plan) -> list[str]:
  """What is sent, a line a kind, against the least."""
  lines = [
    f'  {total.kind:<19}{total.dtype:<5}{total.count:>6} x, '
    f'{size(total.bytes)}'
    f'{", counted twice" if total.cost > total.bytes else ""}'
    for total in plan.collectives
  ]
  sent = f'collectives  {size(plan.sent_bytes)} a device'
  if not plan.least_bytes:
    return [sent, *lines]
  ratio = plan.sent_bytes / plan.least_bytes
  least = (
    f'{ratio:.2f} x the least that data parallelism and FSDP need, '
    f'{size(plan.least_bytes)}'
  )
  return [f'{sent}, {least}', *lines]


def _roofline(plan: plans.Plan) -> str:
  if not plan.seconds:
    return 'not known: the peaks of this device are not in the table'
  causes = ', '.join(
    f'{cause} {1e3 * seconds:.3g} ms' for cause, seconds in plan.seconds.items()
  )
  return (
    f'{1e3 * plan.step_seconds:.3g} ms a step at least ({causes}); MFU at '
    f'most {plan.mfu:.0%}'
  )


def bars(plan: plans.Plan) -> bytes:
  """Draws memory, collectives and time as bars: a PNG file."""
  from matplotlib import figure

  panels = [_memory_bars(plan)]
  if plan.collectives:
    panels.append(_collective_bars(plan))
  if plan.seconds:
    panels.append(_time_bars(plan))
  heights = [len(bars) for _, bars, _ in panels]
  canvas = figure.Figure(
    figsize=(7.2, sum(0.9 + _BAR * high for high in heights)), dpi=200,
    layout='constrained',
  )  # fmt: skip
  rows = canvas.subplots(
    len(panels), 1, squeeze=False,
    height_ratios=[0.6 + _BAR * high for high in heights],
  )[:, 0]  # fmt: skip
  for axes, panel, colour in zip(rows, panels, plots.COLOURS, strict=False):
    _draw(axes, *panel, colour)
  canvas.suptitle(
    f'{plan.slice}, {plan.step}, batch {plan.batch:,}', fontsize=10,
    color=plots.INK,
  )  # fmt: skip
  return plots.finish(canvas, rows[0])


_Bars = dict[str, tuple[float, str]]  # length and label
_Panel = tuple[str, _Bars, tuple[float, str] | None]  # and a limit


def _bytes(sizes: dict[str, int]) -> _Bars:
  return {name: (n / _GIB, size(n)) for name, n in sizes.items()}


def _memory_bars(plan: plans.Plan) -> _Panel:
  there, limit = plan.memory_there, None
  if there:
    limit = there / _GIB, f'there are {size(there)}'
  bars = _bytes({'in all': plan.memory_needed, **plan.memory})
  return 'memory of a device (GiB)', bars, limit


def _collective_bars(plan: plans.Plan) -> _Panel:
  sizes, limit = {'in all': plan.sent_bytes}, None
  for total in plan.collectives:
    sizes[total.kind] = sizes.get(total.kind, 0) + total.cost
  if plan.least_bytes:
    limit = plan.least_bytes / _GIB, f'at least {size(plan.least_bytes)}'
  return 'received by a device, a step (GiB)', _bytes(sizes), limit


def _time_bars(plan: plans.Plan) -> _Panel:
  bars = {
    cause: (1e3 * spent, f'{1e3 * spent:.3g} ms')
    for cause, spent in plan.seconds.items()
  }
  return 'roofline: a step takes at least (ms)', bars, None


def _draw(
  axes: Any,
  label: str,
  bars: _Bars,
  limit: tuple[float, str] | None,
  colour: str,
) -> None:
  """Draws a bar a name, and a dashed line at a limit."""
  plots.ruled(axes, label, '')
  axes.grid(visible=False, axis='y')
  axes.tick_params(axis='y', length=0)
  lengths, labels = zip(*bars.values(), strict=True)
  drawn = axes.barh([*bars], lengths, color=colour, height=0.62)
  axes.bar_label(drawn, labels, padding=4, fontsize=8, color=plots.INK)
  axes.invert_yaxis()
  axes.set_xlim(0, 1.18 * max(*lengths, limit[0] if limit else 0))
  if limit:
    axes.axvline(limit[0], color=plots.INK, ls='--', lw=1)
    axes.annotate(
      limit[1], (limit[0], 1), xycoords=('data', 'axes fraction'),
      xytext=(0, 3), textcoords='offset points', ha='center', fontsize=8,
      color=plots.INK,
    )  # fmt: skip
