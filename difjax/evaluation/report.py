"""One HTML file that says how a model did, for somebody who was not there.

The file stands alone: pictures are data URIs, the style is inline, there is no
script and nothing is fetched, so it can be mailed, archived and opened offline.
It follows the reader's light or dark setting, narrow screens and print. All
text is escaped.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import os
import pathlib
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from difjax import environment
from difjax.evaluation import distribution, plots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
  """A picture with what it shows.

  Attributes:
    png: the PNG file.
    caption: one or two sentences under it; may be empty.
    alt: the same for somebody who cannot see it.
    curves: dark lines on white, to be inverted on a dark page.
    width: CSS pixels; by default half of the picture's own, for what is made
      at twice its size. A picture that is enlarged keeps its pixels square.
  """

  png: bytes
  caption: str
  alt: str
  curves: bool = False
  width: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """Text cells: names on the left, figures to the right of them.

  Attributes:
    header: a title for every column.
    rows: a name and figures each, as long as the header.
    strong: how many rows stand out, from the top.
  """

  header: Sequence[str]
  rows: Sequence[Sequence[str]]
  strong: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Details:
  """Text that is folded away under one line, in a fixed-width face."""

  summary: str
  text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """A part of the report, shown in the order of the fields."""

  title: str
  text: str = ''
  checks: Sequence[distribution.Check] = ()
  table: Table | None = None
  figures: Sequence[Figure] = ()
  caption: str = ''
  details: Sequence[Details] = ()


def judged(
  judgement: distribution.Judgement, *, title: str, text: str = ''
) -> Section:
  """The section with what a judgement found, samples first and in bold."""
  header, rows = distribution.cells(judgement)
  return Section(
    title=title,
    text=text,
    checks=judgement.checks,
    table=Table(header=header, rows=rows, strong=1),
    caption=judgement.caption,
  )


def render(
  title: str,
  subtitle: str,
  sections: Sequence[Section],
  facts: Mapping[str, str],
) -> str:
  """The report as one HTML document.

  Args:
    title: what was trained.
    subtitle: a sentence about it.
    sections: in their order; their titles make the contents.
    facts: a few numbers with their names, shown under the title.
  """
  slugs = [_slug(section.title) for section in sections]
  links = ''.join(
    f'<a href="#{slug}">{_text(section.title)}</a>'
    for slug, section in zip(slugs, sections, strict=True)
  )
  shown = ''.join(
    f'<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>'
    for name, value in facts.items()
  )
  shown = f'<dl>{shown}</dl>\n' if facts else ''
  body = '\n'.join(map(_section, slugs, sections))
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<meta name="color-scheme" content="light dark">\n'
    f'<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
    f'<header>\n<h1>{_text(title)}</h1>\n<p>{_text(subtitle)}</p>\n'
    f'{shown}<nav>{links}</nav>\n</header>\n<main>\n{body}\n</main>\n'
    '</body>\n</html>\n'
  )


def filed(
  folder: pathlib.Path,
  name: str,
  png: bytes,
  caption: str,
  *,
  curves: bool = False,
) -> Figure:
  """Returns a figure that is kept as FOLDER/NAME.png too."""
  plots.write(folder / f'{name}.png', png)
  return Figure(png=png, caption=caption, alt=caption, curves=curves)


def provenance(config: Mapping[str, Any]) -> list[Details]:
  """Returns what made a run: its config and the environment, folded away."""
  versions = (
    f'{name} {version}' for name, version in environment.versions().items()
  )
  where = [environment.machine(), environment.devices(), *versions]
  spelled = json.dumps(config, indent=2, sort_keys=True)
  return [
    Details(summary='Config', text=spelled),
    Details(summary='Environment', text='\n'.join(where)),
  ]


def write(path: str | os.PathLike[str], document: str) -> None:
  """Writes the report whole or not at all."""
  plots.write(path, document.encode())


def _text(text: str) -> str:
  return html.escape(text, quote=True)


def _slug(title: str) -> str:
  """An anchor made of the letters and digits of a title."""
  return re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')


def _section(slug: str, section: Section) -> str:
  """One part of the page."""
  parts = [f'<section id="{slug}">', f'<h2>{_text(section.title)}</h2>']
  if section.text:
    parts.append(f'<p>{_text(section.text)}</p>')
  if section.checks:
    parts.append(_checks(section.checks))
  if section.table:
    parts.append(_table(section.table))
  if section.figures:
    figures = ''.join(map(_figure, section.figures))
    parts.append(f'<div class="figures">{figures}</div>')
  if section.caption:
    parts.append(f'<p class="caption">{_text(section.caption)}</p>')
  parts.extend(
    f'<details><summary>{_text(folded.summary)}</summary>'
    f'<pre>{_text(folded.text)}</pre></details>'
    for folded in section.details
  )
  return '\n'.join([*parts, '</section>'])


def _checks(checks: Sequence[distribution.Check]) -> str:
  """Criteria as a list, each marked in words as well as in colour."""
  items = ''.join(
    f'<li class="{"ok" if check.ok else "bad"}">'
    f'<b>{"passed" if check.ok else "failed"}</b>'
    f'<span>{_text(check.criterion)}</span>'
    f'<i>{_text(check.numbers)}</i></li>'
    for check in checks
  )
  met = sum(check.ok for check in checks)
  return (
    f'<p class="verdict">{met} of {len(checks)} criteria are met.</p>\n'
    f'<ul class="checks">{items}</ul>'
  )


def _table(table: Table) -> str:
  """A table that scrolls by itself where it is wider than the page."""
  head = ''.join(f'<th scope="col">{_text(cell)}</th>' for cell in table.header)
  rows = []
  for i, (name, *figures) in enumerate(table.rows):
    cells = ''.join(f'<td>{_text(cell)}</td>' for cell in figures)
    mark = ' class="strong"' if i < table.strong else ''
    rows.append(f'<tr{mark}><th scope="row">{_text(name)}</th>{cells}</tr>')
  return (
    f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n'
    f'<tbody>{"".join(rows)}</tbody>\n</table></div>'
  )


def _figure(figure: Figure) -> str:
  """A picture of known size, so that the page does not jump on loading."""
  wide, high = struct.unpack('>II', figure.png[16:24])  # the IHDR chunk
  width = figure.width or wide // 2
  height = round(high * width / wide)
  kind = 'curves' if figure.curves else 'pixels' if width > wide else ''
  data = base64.b64encode(figure.png).decode()
  caption = (
    f'<figcaption>{_text(figure.caption)}</figcaption>'
    if figure.caption
    else ''
  )
  return (
    f'<figure style="width:{width}px"><img class="{kind}" width="{width}" '
    f'height="{height}" alt="{_text(figure.alt)}" '
    f'src="data:image/png;base64,{data}">{caption}</figure>'
  )


_STYLE = """
:root { --page: #fff; --ink: #1d1d1f; --soft: #5f6368; --line: #e3e3e6;
  --wash: #f6f6f8; --link: #00599c; --ok: #00694d; --bad: #b34700; }
@media (prefers-color-scheme: dark) { :root { --page: #1b1b1b; --ink: #e8e8ea;
  --soft: #a0a4aa; --line: #3a3a3e; --wash: #242427; --link: #7cc0ff;
  --ok: #4cc9a4; --bad: #ff9e5c; }
  img.curves { filter: invert(.894) hue-rotate(180deg); } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0 auto; max-width: 49rem; padding: 3.5rem 1.5rem 5rem;
  background: var(--page); color: var(--ink); font: 1rem/1.55 system-ui,
  -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -.015em; }
h1 + p { margin: .5rem 0 0; color: var(--soft); font-size: 1.1rem; }
h2 { margin: 0 0 .6rem; font-size: 1.3rem; letter-spacing: -.01em; }
section { margin-top: 3rem; scroll-margin-top: 1rem; }
p { margin: 0 0 1rem; text-wrap: pretty; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr));
  gap: 1rem 1.5rem; margin: 1.75rem 0 0; padding: 1rem 0;
  border: solid var(--line); border-width: 1px 0; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.25rem; margin-top: 1rem;
  font-size: .9rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
.figures { display: flex; flex-wrap: wrap; gap: 1.5rem 2rem;
  align-items: flex-start; }
figure { margin: .25rem 0 .5rem; max-width: 100%; }
img { display: block; max-width: 100%; height: auto; }
img.pixels { image-rendering: pixelated; }
figcaption, .caption { margin: .6rem 0 0; color: var(--soft);
  font-size: .875rem; line-height: 1.5; }
.verdict { margin-bottom: .5rem; font-weight: 600; }
.checks { margin: 0 0 1.5rem; padding: 0; list-style: none; font-size: .9rem; }
.checks li { display: grid; grid-template-columns: 5.2rem 1fr auto; gap: .75rem;
  padding: .4rem 0; border-top: 1px solid var(--line); }
.checks b { font-weight: 600; }
.checks i { color: var(--soft); font-style: normal; text-align: right;
  font-variant-numeric: tabular-nums; }
.ok b { color: var(--ok); } .ok b::before { content: "\\2713\\00a0"; }
.bad b { color: var(--bad); } .bad b::before { content: "\\2717\\00a0"; }
.table { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .45rem 0 .45rem 1.1rem; text-align: right;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { padding-left: 0; text-align: left; font-weight: inherit; }
thead th { color: var(--soft); font-size: .8rem; font-weight: 500;
  vertical-align: bottom; }
.strong { font-weight: 650; }
details { margin-top: .75rem; border: 1px solid var(--line);
  border-radius: 6px; }
summary { padding: .55rem .9rem; cursor: pointer; font-size: .9rem; }
pre { margin: 0; padding: .8rem .9rem; overflow-x: auto;
  border-top: 1px solid var(--line); background: var(--wash);
  font: .8rem/1.5 ui-monospace, "SF Mono", Consolas, "DejaVu Sans Mono",
  monospace; }
@media (max-width: 36rem) { body { padding-top: 2rem; }
  .checks li { grid-template-columns: 5.2rem 1fr; }
  .checks i { grid-column: 2; text-align: left; } }
@media print { nav { display: none; } figure, tr, li { break-inside: avoid; } }
"""
