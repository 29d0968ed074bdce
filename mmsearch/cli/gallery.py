"""Hits as one HTML page with the pictures in it: nothing outside it is loaded, no script runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePath

from mmsearch.cli.output import hit_path
from mmsearch.thumbnails import data_uri
from mmsearch.types import Hit, Part, Query
from mmsearch.uris import printable

SIDE = 320  # pixels of a thumbnail's longer side

STYLE = """
:root { color-scheme: light dark; --edge: #8886; }
* { box-sizing: border-box; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 90rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h1 img { height: 6rem; display: block; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); }
figure { margin: 0; min-width: 0; } figure a { display: block; }
figure img, .gone { width: 100%; aspect-ratio: 4 / 3; object-fit: contain; display: block;
  border-radius: .3rem; background: #8882; }
.gone { display: grid; place-items: center; font-size: .8rem; opacity: .7; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; padding-top: .3rem; }
blockquote { margin: .3rem 0 0; font-size: .95rem; } .small { opacity: .75; }
@media (max-width: 40rem) { body { padding: .6rem; }
  .grid { gap: .6rem; grid-template-columns: repeat(2, minmax(0, 1fr)); } }
"""


def gallery(query: Query, hits: Sequence[Hit]) -> str:
    """Return an HTML document with the hits of a query, best first.

    Each links to its file on this machine; the thumbnails are inside the page.
    """
    title = " ".join(_asked(part, first=n == 0) for n, part in enumerate(query.asked))
    own = data_uri(query.image, SIDE) if isinstance(query.image, str) else ""
    picture = f'<img src="{own}" alt="">' if own else ""
    found = f"{len(hits):,} hit{'s' * (len(hits) != 1)}"
    cards = "".join(_card(hit) for hit in hits)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{picture}{escape(title)}</h1><p class=small>{found}</p>"
        f"<div class=grid>{cards}</div></main></body></html>"
    )


def _asked(part: Part, *, first: bool) -> str:
    """Return what one part of a query asks for, with its sign."""
    name = part.text if part.text is not None else PurePath(str(part.key or part.image)).name
    sign = "- " if part.weight < 0 else "" if first else "+ "
    return sign + printable(name)


def _card(hit: Hit) -> str:
    item, path = hit.item, hit_path(hit)
    source = data_uri(item.uri if "#" in item.uri else path, SIDE) if path else ""
    name = escape(printable(PurePath(item.key).name))
    image = f'<img src="{source}" alt="{name}" loading="lazy">' if source else ""
    if not image and item.kind == "image":
        image = "<div class=gone>cannot be opened any more</div>"
    link = escape(item.uri.partition("#")[0], quote=True)
    image = f'<a href="{link}">{image}</a>' if path and image else image
    text = f"<blockquote>{escape(printable(item.text))}</blockquote>" if item.text else ""
    parts = ", ".join(f"{escape(n)} {v:.3f}" for n, v in hit.parts.items())
    return (
        f'<figure title="{parts}">{image}{text}<figcaption><b>{hit.rank}</b> '
        f"<span class=small>{hit.score:.3f}</span> {name}</figcaption></figure>"
    )
