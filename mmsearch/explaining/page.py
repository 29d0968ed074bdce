"""Heat-maps as one HTML page with the pictures in it: nothing outside is loaded, no script runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePath

from mmsearch.explaining.drawing import jpeg_uri, overlay
from mmsearch.explaining.explanation import Explanation
from mmsearch.explaining.heatmap import Heatmap
from mmsearch.uris import printable

SIDE = 400  # pixels of a picture's longer side

STYLE = """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { font: 15px/1.4 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 90rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
.row { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
figure { margin: 0; min-width: 0; }
img { width: 100%; aspect-ratio: 4 / 3; object-fit: contain; display: block;
  border-radius: .3rem; background: #8882; }
figcaption { font-size: .9rem; padding-top: .3rem; overflow-wrap: anywhere; }
.small { opacity: .75; font-weight: normal; }
.bar { display: inline-block; width: 8rem; height: .7rem; border-radius: .2rem;
  vertical-align: middle;
  background: linear-gradient(90deg, #141046, #821e78, #e65f32, #ffe15a); }
@media (max-width: 40rem) { body { padding: .6rem; }
  .row { gap: .6rem; grid-template-columns: repeat(2, minmax(0, 1fr)); } }
"""


def page(text: str, explanations: Sequence[Explanation]) -> str:
    """Return an HTML document: each picture as it is, under the whole text, under each phrase."""
    title = escape(printable(text))
    sections = "".join(_section(one) for one in explanations)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{title}</h1><p class=small>Where each picture fits these words: least "
        "<span class=bar></span> most. The colours of two maps cannot be compared, the scores "
        f"can.</p>{sections}</main></body></html>"
    )


def _section(one: Explanation) -> str:
    name = escape(printable(PurePath(one.name).name))
    rank = f"{one.rank}. " if one.rank else ""
    shown = one.image.copy()
    shown.thumbnail((SIDE, SIDE))
    figures = [_figure(jpeg_uri(shown), "the picture", "")]
    figures += [_map(one, heatmap) for heatmap in one.heatmaps]
    return (
        f"<h2>{rank}{name} <span class=small>{one.heatmaps[0].score:.3f}</span></h2>"
        f"<div class=row>{''.join(figures)}</div>"
    )


def _map(one: Explanation, heatmap: Heatmap) -> str:
    source = jpeg_uri(overlay(one.image, heatmap, side=SIDE))
    return _figure(source, heatmap.text, f" <span class=small>{heatmap.score:.3f}</span>")


def _figure(source: str, text: str, more: str) -> str:
    told = escape(printable(text))
    alt = escape(printable(text), quote=True)
    return f'<figure><img src="{source}" alt="{alt}"><figcaption>{told}{more}</figcaption></figure>'
