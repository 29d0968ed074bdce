"""The report as one HTML page: nothing outside it is loaded, no script runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from pathlib import Path

import numpy as np

from mmsearch.evaluation import tables
from mmsearch.evaluation.direction import Direction
from mmsearch.evaluation.embedding import Embedded
from mmsearch.evaluation.examples import Example, Found, examples
from mmsearch.evaluation.result import Evaluation
from mmsearch.metrics import Ints
from mmsearch.sources import place_of
from mmsearch.thumbnails import data_uri
from mmsearch.uris import printable

_Thumbnail = Callable[[str], str]

EXAMPLES = 6  # of each sort and way
THUMBNAIL = 160  # pixels of the longer side
# Upper edges of the bars of the histogram; the last bar is all the rest.
EDGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000)

STYLE = """
:root { color-scheme: light dark; --edge: #8886; --good: #1a7f37; --bar: #3b76c4; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc26b; --bar: #6ea8f0; } }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 75rem; }
h1 { font-size: 1.4rem; margin: .2em 0; } h2 { font-size: 1.15rem; margin: 2em 0 .5em; }
h3 { font-size: 1rem; margin: 1.5em 0 .4em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; } caption { text-align: left; padding: .3em 0; }
th, td { padding: .2em .7em; border-bottom: 1px solid var(--edge); text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1em 1em;
  overflow-wrap: anywhere; }
dt { font-weight: 600; } dd { margin: 0; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); }
article { border: 1px solid var(--edge); border-radius: .5rem; padding: .7rem; min-width: 0; }
article > p { margin: 0 0 .5rem; overflow-wrap: anywhere; } .query { font-weight: 600; }
.row { display: grid; gap: .5rem; grid-template-columns: repeat(5, minmax(0, 1fr)); }
.row p { grid-column: span 4; margin: 0; align-self: center; }
figure { margin: 0; font-size: .8rem; }
figcaption { margin-top: .3rem; }
figure img, figure .gone { width: 100%; aspect-ratio: 1; object-fit: cover; display: block;
  border-radius: .25rem; outline: 1px solid var(--edge); }
figure.relevant img { outline: 3px solid var(--good); }
.relevant figcaption, li.relevant { color: var(--good); font-weight: 600; }
ol { margin: .3rem 0 .3rem 1.4rem; padding: 0; overflow-wrap: anywhere; }
.small { font-size: .85rem; opacity: .8; } svg { max-width: 100%; height: auto; }
svg text { fill: currentColor; font: 12px system-ui, sans-serif; } rect { fill: var(--bar); }
@media (max-width: 40rem) {
  .grid { grid-template-columns: minmax(0, 1fr); } body { padding: .6rem; }
  th, td { padding: .2em .3em; font-size: .75rem; white-space: normal; } }
"""


def html_report(result: Evaluation, embedded: Embedded | None = None) -> str:
    """Return the report as an HTML document.

    Args:
        result: what was measured.
        embedded: the pairs with their vectors, for pictures of hits and misses; without them
            the page has none.
    """
    thumbnail = cache(lambda place: data_uri(place, THUMBNAIL))
    title = f"{result.model} on {Path(str(result.data['source'])).name}"
    parts = [f"<h1>{_text(title)}</h1>", _list(tables.heading(result))]
    parts.append(_table(tables.figure_rows(result)))
    parts.append(
        "<p class=small>R@k: queries with at least one relevant candidate among the first k "
        "(hit rate). recall@10: the part of all relevant ones among the first 10. Equal scores "
        "count against the query. Intervals: bootstrap over pictures.</p>"
    )
    parts += [f"<p><b>Note:</b> {_text(note)}</p>" for note in tables.notes(result)]
    for name, split in result.losses.items():
        parts.append(f"<h2>{_text(_upper(tables.loss_title(name, split)))}</h2>")
        parts.append(_table(tables.loss_rows(split)))
    parts.append(f"<p class=small>{_text(_upper(tables.encode_line(result)))}</p>")
    for name, direction in result.directions.items():
        parts.append(f"<h2>{_text(_upper(tables.way(name)))}</h2>")
        parts.append(_histogram(direction.ranking.first))
        if embedded is not None:
            parts.append(_examples(embedded, name, direction, thumbnail))
    if result.skipped:
        parts.append(f"<h2>Left out: {len(result.skipped):,}</h2>")
        parts.append(_list([(printable(s.key), s.reason) for s in result.skipped[:50]]))
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>"
    )
    return f"{head}<body><main>{''.join(parts)}</main></body></html>\n"


def histogram(first: Ints) -> list[tuple[str, int]]:
    """Return (label, count) of the first ranks in the bars that EDGES sets."""
    bars, low = [], 0
    for edge in [e for e in EDGES if e < first.max()] + [int(first.max())]:
        # The edge just above the largest rank closes the last bar with a round number.
        edge = next((e for e in EDGES if e >= edge), edge)
        label = f"{edge}" if edge == low + 1 else f"{low + 1}–{edge}"
        bars.append((label, int(np.count_nonzero((first > low) & (first <= edge)))))
        low = edge
    return bars


def _histogram(first: Ints) -> str:
    """Return the histogram of first ranks as SVG; the bars lie, so that it fits a phone."""
    bars, line, left, width = histogram(first), 22, 95, 320
    most = max(count for _, count in bars)
    rows = []
    for n, (label, count) in enumerate(bars):
        y, length = n * line, width * count / most
        share = f"{count:,} ({100 * count / len(first):.1f} %)"
        rows.append(
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{label}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{line - 6}"/>'
            f'<text x="{left + length + 6:.1f}" y="{y + 15}">{share}</text>'
        )
    size = (left + width + 110, len(bars) * line)
    return (
        "<h3>Rank of the first relevant candidate</h3>"
        f'<svg viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}" role="img" '
        f'aria-label="Histogram of ranks">{"".join(rows)}</svg>'
    )


def _examples(embedded: Embedded, name: str, direction: Direction, thumbnail: _Thumbnail) -> str:
    good, bad = examples(embedded, name, direction, EXAMPLES)
    draw = _text_query if name == "text_to_image" else _image_query
    parts = []
    for title, chosen in (("Best hits", good), ("Worst misses", bad)):
        cards = "".join(draw(embedded, example, thumbnail) for example in chosen)
        parts.append(f"<h3>{title}</h3><div class=grid>{cards or '<p>none</p>'}</div>")
    return "".join(parts)


def _text_query(embedded: Embedded, example: Example, thumbnail: _Thumbnail) -> str:
    found = "".join(_figure(embedded, f, thumbnail) for f in example.found)
    wanted = ""
    if not any(f.relevant for f in example.found):
        own = Found(example.wanted[0], float("nan"), True)
        drawn = _figure(embedded, own, thumbnail)
        wanted = f"<div class=row>{drawn}<p class=small>meant this one</p></div>"
    query = _text(embedded.pairs.texts[example.query])
    return (
        f"<article><p class=query>{query}</p><p class=small>rank {example.rank:,}; found:</p>"
        f"<div class=row>{found}</div>{wanted}</article>"
    )


def _image_query(embedded: Embedded, example: Example, thumbnail: _Thumbnail) -> str:
    texts = embedded.pairs.texts
    lines = "".join(
        f"<li{' class=relevant' if f.relevant else ''}>{_text(texts[f.row])} "
        f"<span class=small>{f.score:.3f}</span></li>"
        for f in example.found
    )
    meant = ""
    if not any(f.relevant for f in example.found):
        meant = f"<p class=small>meant: {_text(texts[example.wanted[0]])}</p>"
    picture = _figure(embedded, Found(example.query, float("nan"), False), thumbnail)
    return (
        f"<article><div class=row>{picture}<p class=small>rank {example.rank:,}; found:</p></div>"
        f"<ol>{lines}</ol>{meant}</article>"
    )


def _figure(embedded: Embedded, found: Found, thumbnail: _Thumbnail) -> str:
    item = embedded.pairs.pictures[found.row]
    name = _text(printable(Path(item.item.key).name))
    image = thumbnail(place_of(item))
    drawn = (
        f'<img src="{image}" alt="{name}" title="{name}">' if image else "<div class=gone></div>"
    )
    score = "" if np.isnan(found.score) else f"{found.score:.3f}"
    mark = "✓ " if found.relevant else ""
    kind = " class=relevant" if found.relevant else ""
    return f"<figure{kind}>{drawn}<figcaption>{mark}{score}</figcaption></figure>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    header, *body = rows
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    lines = "".join("<tr>" + "".join(f"<td>{_text(c)}</td>" for c in row) + "</tr>" for row in body)
    return f"<div class=wide><table><tr>{head}</tr>{lines}</table></div>"


def _list(rows: Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{_text(a)}</dt><dd>{_text(b)}</dd>" for a, b in rows) + "</dl>"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text(text: str) -> str:
    return escape(text)


__all__ = ["histogram", "html_report"]
