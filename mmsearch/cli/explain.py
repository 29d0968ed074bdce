"""`mmsearch explain`: where in a picture a text fits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import build_filter, filter_options, note, store_options, threads_option

if TYPE_CHECKING:
    from index_store import Collection, Where
    from mmsearch.explaining.explanation import Explanation, Unopened

ENDINGS = {".png": "PNG", ".html": "HTML", ".htm": "HTML"}
PNG_SIDE = 1024  # pixels of its longer side, at most


@click.command("explain", short_help="Show where in a picture a text fits.")
@click.argument("text")
@click.argument("pictures", nargs=-1, metavar="[PICTURE]...")
@click.option("--hits", "k", type=click.IntRange(1, 1_000), metavar="N",
              help="Explain the N best hits of TEXT in the collection.")  # fmt: skip
@filter_options
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Draw the maps: NAME.png (one picture, the whole text) or NAME.html (any "
              "number, and each phrase).")  # fmt: skip
@click.option("--model", envvar="MMSEARCH_MODEL", metavar="SPEC",
              help="Encoder [default: the collection's own, else auto].")  # fmt: skip
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="How to print; json has the maps, too.")  # fmt: skip
@threads_option
@store_options
def explain_command(
    text: str, pictures: tuple[str, ...], k: int | None, where: str | None,
    paths: tuple[str, ...], out: Path | None, model: str | None, format_: str,
    threads: int | None, store: Path, collection: str,
) -> int:  # fmt: skip
    """Show where in a picture the encoder sees what TEXT says: as a heat-map, and as the point
    where it fits best. Of the whole text, and of each of its phrases.

    \b
    mmsearch explain "a dog" holiday.jpg --out dog.png
    mmsearch explain "a black dog in the snow" --hits 5 --out hits.html

    The picture is looked at in overlapping windows, each encoded alone, so it works with every
    model. Exits with 1 if there is no hit, with 5 if hits could not be opened.
    """
    if bool(pictures) == (k is not None):
        raise click.UsageError("give pictures or --hits N, one of the two")
    if pictures and (where is not None or paths):
        raise click.UsageError("--where and --path choose among hits; leave out the pictures")
    drawn_as = _drawn_as(out, len(pictures) or k or 0)
    condition = build_filter(where, paths)
    with ExitStack() as stack:
        held = _collection(stack, store, collection, needed=k is not None)
        found = _explained(held, text, pictures, k, condition, model, threads)
        done, missed = _sorted_out(found)
    if not done:
        note("no hits could be opened" if missed else "no hits to explain")
        return Exit.SOME_FAILED if missed else Exit.NO_HITS
    if out is not None:
        _draw(out, drawn_as, text, done)
    _print(text, done, format_)
    return Exit.SOME_FAILED if missed else Exit.OK


def _drawn_as(out: Path | None, count: int) -> str:
    """Return "PNG", "HTML", or "" where nothing is drawn."""
    if out is None:
        return ""
    sort = ENDINGS.get(out.suffix.lower())
    if sort is None:
        raise click.UsageError(f"--out {out}: its name must end in .png or .html")
    if sort == "PNG" and count > 1:
        raise click.UsageError("a PNG shows one picture; for several name a FILE.html")
    if not out.parent.is_dir():
        raise click.UsageError(f"--out {out}: there is no folder {out.parent}")
    return sort


def _collection(stack: ExitStack, path: Path, name: str, *, needed: bool) -> Collection | None:
    """Return the collection, open for reading; None if there is none and none is needed."""
    from index_store import Store
    from index_store.errors import CollectionNotFound, StoreNotFound

    try:
        return stack.enter_context(Store.open(path, readonly=True)).collection(name)
    except (StoreNotFound, CollectionNotFound):
        if needed:
            raise
        return None


def _explained(
    held: Collection | None, text: str, pictures: Sequence[str], k: int | None,
    condition: Where | None, model: str | None, threads: int | None,
) -> Iterator[Explanation | Unopened]:  # fmt: skip
    from mmsearch.encoders import load_encoder
    from mmsearch.explaining.explanation import check_text, explain_file, explain_hits
    from mmsearch.search import Engine
    from mmsearch.types import Query

    check_text(text)
    encoder = load_encoder(model or (held.model if held else "auto"), threads=threads)
    if k is None or held is None:
        return (explain_file(encoder, text, path) for path in pictures)
    hits = Engine(held, encoder).search(Query(text, k=k, where=condition))
    return explain_hits(encoder, text, hits)


def _sorted_out(
    found: Iterator[Explanation | Unopened],
) -> tuple[list[Explanation], int]:
    """Return what was explained, and how many pictures could not be opened."""
    from mmsearch.explaining.explanation import Unopened
    from mmsearch.uris import printable

    done: list[Explanation] = []
    missed = 0
    for one in found:
        if isinstance(one, Unopened):
            missed += 1
            note(f"left out: {printable(one.name)}: {printable(one.reason)}")
        else:
            done.append(one)
    return done, missed


def _draw(out: Path, sort: str, text: str, done: Sequence[Explanation]) -> None:
    from mmsearch.explaining.drawing import overlay
    from mmsearch.explaining.page import page
    from mmsearch.files import write_whole

    try:
        if sort == "PNG":
            drawn = overlay(done[0].image, done[0].heatmaps[0], side=PNG_SIDE)
            write_whole(out, lambda file: drawn.save(file, "PNG"))
        else:
            whole = page(text, done).encode("utf8", "backslashreplace")
            write_whole(out, lambda file: file.write(whole))
    except OSError as error:
        raise click.UsageError(f"cannot write {out}: {error.strerror}") from error
    note(f"drawn in {out}")


def _print(text: str, done: Sequence[Explanation], format_: str) -> None:
    from mmsearch.uris import printable

    if format_ == "json":
        pictures = [_as_dict(one) for one in done]
        click.echo(json.dumps({"schema": 1, "text": text, "pictures": pictures}, indent=2))
        return
    for one in done:
        rank = f"{one.rank:>3}  " if one.rank else ""
        width, height = one.size
        click.echo(f"{rank}{printable(one.name)}  ({width} x {height})")
        for heatmap in one.heatmaps:
            x, y = heatmap.peak(one.size)
            click.echo(f"     {heatmap.score:.3f}  at {x:>4},{y:<4}  {printable(heatmap.text)}")


def _as_dict(one: Explanation) -> dict[str, Any]:
    width, height = one.size
    maps = [
        {"text": m.text, "score": round(m.score, 6), "peak": list(m.peak(one.size)),
         "values": [[round(float(v), 3) for v in row] for row in m.values]}
        for m in one.heatmaps
    ]  # fmt: skip
    ranked = {"rank": one.rank} if one.rank else {}
    return {"path": one.name, **ranked, "width": width, "height": height, "maps": maps}
