"""`mmsearch tag`: labels that fit pictures, found by the model, stored, and written beside them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli import Exit
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import (
    build_filter,
    filter_options,
    note,
    store_options,
    threads_option,
)

if TYPE_CHECKING:
    from index_store import Collection
    from mmsearch.organise.contents import Contents
    from mmsearch.organise.tagging import Tagged, Tagging

WRITTEN = 500  # items a transaction


@click.command("tag", short_help="Tag pictures with the labels that fit them.")
@click.argument("labels", nargs=-1, metavar="LABEL...")
@click.option("--labels", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              metavar="FILE", help="More labels, one a line.")  # fmt: skip
@filter_options
@click.option("--strictness", type=Between(0), default=2.5, show_default=True, metavar="Z",
              help="How far above this collection's background a label must score, in "
              "standard deviations. Higher: fewer tags, and surer ones.")  # fmt: skip
@click.option("--prompt", default="", metavar="TEXT",
              help="The sentence that a label stands in [default: 'a photo of a {}', of the "
              "starter 'there is a {}'].")  # fmt: skip
@click.option("--replace", is_flag=True, help="Replace the tags that are stored; else add to them.")
@click.option("--dry-run", is_flag=True, help="Show what fits, store nothing.")
@click.option("--write-xmp", is_flag=True,
              help="Also add them as keywords to the XMP file beside each picture, for other "
              "programs. The pictures themselves are never changed.")  # fmt: skip
@click.option("--format", "format_", default="table", show_default=True,
              type=click.Choice(["table", "json", "jsonl"]),
              help="table: pictures a label; jsonl: a line a picture.")  # fmt: skip
@threads_option
@store_options
def tag_command(
    labels: tuple[str, ...], file: Path | None, where: str | None, paths: tuple[str, ...],
    strictness: float, prompt: str, replace: bool, dry_run: bool, write_xmp: bool, format_: str,
    threads: int | None, store: Path, collection: str,
) -> int:  # fmt: skip
    """Tag pictures with those of the LABELs that fit them, by the model alone.

    A label fits where it scores well above what everyday words score on the pictures of this
    collection. Tags are stored, and found by `search --tag`, `--where` and `--hybrid`.

    \b
    mmsearch tag dog beach "birthday party" --dry-run
    mmsearch tag --labels labels.txt --path 'holidays/*' --write-xmp
    """
    if dry_run and (replace or write_xmp):
        raise click.UsageError("--dry-run stores nothing: not with --replace or --write-xmp")
    condition = build_filter(where, paths)
    from index_store import Store
    from mmsearch.encoders import load_encoder
    from mmsearch.organise.contents import read_contents
    from mmsearch.organise.naming import read_words
    from mmsearch.organise.tagging import tag

    wanted = [*labels, *(read_words(file) if file else ())]
    if not wanted:
        raise click.UsageError("no label: name some, or a file of them by --labels")
    done = True
    with Store.open(store, readonly=dry_run) as opened:
        found = opened.collection(collection)
        encoder = load_encoder(found.model, threads=threads, towers="text")
        contents = read_contents(found, "image", condition)
        tagging = tag(contents, encoder, wanted, strictness=strictness, prompt=prompt)
        if not dry_run:
            _store(found, contents, tagging, keep=not replace)
        if write_xmp:
            done = _write_beside(tagging.pictures)
    _print(tagging, wanted, format_)
    note(f"{len(tagging.pictures):,} of {len(contents.items):,} pictures have one of the labels "
         f"(a cosine of {tagging.threshold:.3f} or more)")  # fmt: skip
    if not done:
        return Exit.SOME_FAILED
    return Exit.OK if tagging.pictures else Exit.NO_HITS


def _store(collection: Collection, contents: Contents, tagging: Tagging, *, keep: bool) -> None:
    from mmsearch.organise.tagging import changed
    from mmsearch.pipeline import batched

    for some in batched(changed(contents, tagging, keep=keep), WRITTEN):
        collection.update(some)


def _write_beside(pictures: Sequence[Tagged]) -> bool:
    """Write the XMP files; return whether all could be written."""
    from mmsearch.cli.output import item_path
    from mmsearch.organise.sidecar import write_keywords
    from mmsearch.sources import is_raw
    from mmsearch.uris import is_part, printable

    written = 0
    failed: list[str] = []
    for picture in pictures:
        try:
            path = item_path(picture.item)
            uri = picture.item.uri
            if not path or (is_part(uri) and not is_raw(uri)):
                raise ValueError("it is inside another file, beside which no XMP file is read")
            written += write_keywords(path, list(picture.scores))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            failed.append(f"{printable(picture.item.key)}: {reason}")
    note(f"{written:,} XMP files written" + (f", {len(failed):,} failed" if failed else ""))
    for line in failed[:5]:
        note(f"failed: {line}")
    return not failed


def _print(tagging: Tagging, labels: Sequence[str], format_: str) -> None:
    from mmsearch.cli.output import item_path
    from mmsearch.uris import printable

    rows = [
        {"key": t.item.key, "path": item_path(t.item),
         "tags": {label: round(score, 4) for label, score in t.scores.items()}}
        for t in tagging.pictures
    ]  # fmt: skip
    if format_ == "json":
        whole = {"schema": 1, "threshold": round(tagging.threshold, 4), "pictures": rows}
        click.echo(json.dumps(whole, indent=2))
    elif format_ == "jsonl":
        for row in rows:
            click.echo(json.dumps(row))
    else:
        counts = Counter(label for t in tagging.pictures for label in t.scores)
        for label in dict.fromkeys(labels):
            click.echo(f"{counts[label.strip()]:>7,}  {printable(label)}")
