"""The clusters as one HTML page: a map of pictures, then each cluster. It loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from index_store import Item
from index_store.scan import decode
from mmsearch.organise.clusters import Cluster
from mmsearch.organise.contents import Contents
from mmsearch.organise.projection import on_a_grid, projected
from mmsearch.thumbnails import data_uri
from mmsearch.uris import path_of, printable

ON_MAP, IN_LIST = 400, 12  # pictures on the map, and of each cluster below it
SIDE = 96  # pixels of a thumbnail's longer side

STYLE = """
:root { color-scheme: light dark; --edge: #8886; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 90rem; }
h1 { font-size: 1.4rem; margin: .2em 0; } h2 { font-size: 1.05rem; margin: 1.5em 0 .4em; }
.small { font-size: .85rem; opacity: .8; overflow-wrap: anywhere; }
.map { position: relative; width: 100%; aspect-ratio: 1; margin: 1rem 0; }
.map a { position: absolute; }
.map img { width: 100%; height: 100%; object-fit: cover; border: 2px solid; border-radius: 3px; }
.map a:hover, .map a:focus { z-index: 3; transform: scale(2.6); }
.map b { position: absolute; transform: translate(-50%, -50%); z-index: 2; padding: .1em .45em;
  background: Canvas; color: CanvasText; border: 2px solid; border-radius: 1em; font-size: .8rem;
  white-space: nowrap; pointer-events: none; opacity: .93; }
.row { display: flex; flex-wrap: wrap; gap: .4rem; }
.row img { height: 96px; display: block; border-radius: 3px; outline: 1px solid var(--edge); }
.dot { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .4em; }
@media (max-width: 40rem) { .map b { font-size: .55rem; } .row img { height: 64px; } }
"""


def map_page(contents: Contents, groups: Sequence[Cluster], title: str) -> str:
    """Return the page as an HTML document.

    The map has up to `ON_MAP` pictures, of each cluster its share, at places where neighbours
    are alike (t-SNE); the pictures that cannot be read any more are left out.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    total = sum(len(g.members) for g in groups)
    shown = _shares(groups, total)
    drawn = np.concatenate(shown)
    owner = np.repeat(np.arange(len(groups)), [len(s) for s in shown])
    places = projected(decode(contents.rows[drawn]))
    cells, side = on_a_grid(places)
    pictures = {int(n): data_uri(_place(contents.items[n]), SIDE) for n in drawn}
    parts = [f"<h1>{_text(title)}</h1>",
             f"<p class=small>{total:,} pictures in {len(groups)} clusters; {len(drawn):,} of them "
             "on the map, where neighbours are alike. Point at one to see it larger.</p>",
             "<div class=map>"]  # fmt: skip
    size = 100 / side  # per cent of the map's width
    for n, (column, row), of in zip(drawn.tolist(), cells.tolist(), owner.tolist(), strict=True):
        if pictures[n]:
            box = (f"left:{column * size:.2f}%;top:{row * size:.2f}%;"
                   f"width:{size * 0.96:.2f}%;height:{size * 0.96:.2f}%")  # fmt: skip
            parts.append(
                f'<a style="{box}" href="#c{of}"><img src="{pictures[n]}" '
                f'style="border-color:{_color(of)}" '
                f'alt="" title="{_name(contents.items[n])}"></a>'
            )
    parts += _labels(groups, cells, owner, side)
    parts.append("</div>")
    for number, group in enumerate(groups):
        parts.append(_section(contents, number, group, pictures))
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>"
    )
    return f"{head}<body><main>{''.join(parts)}</main></body></html>\n"


def _shares(groups: Sequence[Cluster], total: int) -> list[npt.NDArray[np.int64]]:
    """Return the members of each group that the map shows, spread from typical to odd."""
    shown = []
    for group in groups:
        share = len(group.members)
        if total > ON_MAP:
            share = max(round(ON_MAP * share / total), 1)
        chosen = np.linspace(0, len(group.members) - 1, share).round().astype(int)
        shown.append(group.members[chosen])
    return shown


def _labels(
    groups: Sequence[Cluster], cells: npt.NDArray[np.int64], owner: npt.NDArray[np.int64], side: int
) -> list[str]:
    """Return each cluster's name at the middle of its pictures."""
    labels = []
    taken: list[tuple[float, float]] = []
    for number, group in enumerate(groups):
        x, y = ((np.median(cells[owner == number], axis=0) + 0.5) * 100 / side).tolist()
        x = min(max(x, 8.0), 92.0)  # not over the edge
        while any(abs(x - left) < 15 and abs(y - top) < 2 for left, top in taken):
            y += 2.0
        taken.append((x, y))
        labels.append(
            f'<b style="left:{x:.2f}%;top:{y:.2f}%;border-color:{_color(number)}">'
            f"{_text(group.name)}</b>"
        )
    return labels


def _section(contents: Contents, number: int, group: Cluster, pictures: dict[int, str]) -> str:
    images = []
    for n in group.members[:IN_LIST].tolist():
        item = contents.items[n]
        source = pictures.get(n) or data_uri(_place(item), SIDE)
        if source:
            images.append(f'<img src="{source}" alt="" title="{_name(item)}">')
    dot = f'<span class=dot style="background:{_color(number)}"></span>'
    return (
        f"<h2 id=c{number}>{dot}{_text(group.name)} "
        f"<span class=small>{len(group.members):,}</span></h2>"
        f"<div class=row>{''.join(images)}</div>"
    )


def _color(number: int) -> str:
    # Neighbours in the list get hues far apart: steps by the golden angle.
    return f"hsl({number * 137.5 % 360:.0f} 75% {45 + 12 * (number % 2)}%)"


def _place(item: Item) -> str:
    return item.uri if "#" in item.uri or not item.uri.startswith("file:") else path_of(item.uri)


def _name(item: Item) -> str:
    return _text(printable(PurePath(item.key).name))


def _text(text: str) -> str:
    return escape(text)
