"""`mmsearch caption` and `mmsearch eval-captions`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli import Exit
from mmsearch.cli.evaluate import Progress
from mmsearch.cli.options import build_filter, filter_options, note, store_options, threads_option

if TYPE_CHECKING:
    from index_store import Collection, Item, Where
    from mmsearch.answering import Captioner
    from mmsearch.answering.captioning import Described

CAPTIONER = click.option("--captioner", required=True, envvar="MMSEARCH_CAPTIONER", metavar="SPEC",
                         help="blip:DIR or vlm:DIR (extra: torch).")  # fmt: skip
DEVICE = click.option("--device", help="cpu, cuda, cuda:N, mps [default: the best there is].")


@click.command("caption", short_help="Describe pictures, and keep what was written.")
@click.argument("pictures", nargs=-1, metavar="[PICTURE]...")
@click.option("--hits", metavar="QUERY", help="Describe the best hits of this search.")
@click.option("-n", "--limit", "k", type=click.IntRange(1, 10_000), default=5, show_default=True,
              metavar="N", help="Hits to describe.")  # fmt: skip
@click.option("--all", "all_", is_flag=True, help="Describe the collection's pictures.")
@filter_options
@click.option("--save", "keep", is_flag=True,
              help="Store the captions as texts, which searches find.")  # fmt: skip
@CAPTIONER
@DEVICE
@click.option("--format", "format_", type=click.Choice(["table", "jsonl"]), default="table",
              show_default=True, help="How to print.")  # fmt: skip
@threads_option
@store_options
def caption_command(
    pictures: tuple[str, ...], hits: str | None, k: int, all_: bool, where: str | None,
    paths: tuple[str, ...], keep: bool, captioner: str, device: str | None, format_: str,
    threads: int | None, store: Path, collection: str,
) -> int:  # fmt: skip
    """Describe pictures by a model: files, hits of a search, or a whole collection.

    \b
    mmsearch caption holiday.jpg --captioner blip:DIR
    mmsearch caption --all --save --captioner blip:DIR         go on where it was interrupted
    mmsearch search "a dog on a sofa" --kind text

    With --save every caption becomes a text item of the collection beside its picture, eight a
    commit; pictures that this captioner has described are passed over, another's captions are
    replaced. Exits with 5 if pictures could not be read.
    """
    if [bool(pictures), hits is not None, all_].count(True) != 1:
        raise click.UsageError("give pictures, --hits QUERY or --all, one of the three")
    if pictures and (keep or where is not None or paths):
        raise click.UsageError("--save, --where and --path are for --hits and --all")
    condition = build_filter(where, paths)
    from mmsearch.answering import load_captioner

    if pictures:
        model = load_captioner(captioner, threads=threads, device=device)
        return _print_all(model, [_file(name) for name in pictures], format_)
    if hits is not None:
        from mmsearch.cli.hits import pictures_found

        found = pictures_found(store, collection, hits, k=k, where=condition, threads=threads)
        if not found:
            note("no hits to describe")
            return Exit.NO_HITS
    model = load_captioner(captioner, threads=threads, device=device)
    from index_store import Store

    with Store.open(store, readonly=not keep) as opened:
        held = opened.collection(collection)
        items: Iterator[Item] = iter(found) if hits is not None else _pictures(held, condition)
        if not keep:
            return _print_all(model, items, format_)
        from mmsearch.answering.captioning import describe, save, without_caption
        from mmsearch.encoders import load_encoder

        encoder = load_encoder(held.model, threads=threads, towers="text")
        held.check_space(encoder.space)
        stored = failed = 0
        for group in describe(model, without_caption(held, items, captioner)):
            stored += save(held, encoder, group, captioner)
            failed += _print(group, format_)
    note(f"{stored:,} captions stored; mmsearch search --kind text finds them")
    return Exit.SOME_FAILED if failed else Exit.OK


@click.command("eval-captions", short_help="Measure how good a captioner is.")
@click.argument("data")
@CAPTIONER
@click.option("--split", metavar="NAME", help="Of a data set with splits [default: all].")
@click.option("--first", type=click.IntRange(1), metavar="N", help="Only the first N pictures.")
@DEVICE
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="How to print.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress: outcome and warnings only.")
@threads_option
def eval_captions_command(
    data: str, captioner: str, split: str | None, first: int | None, device: str | None,
    format_: str, quiet: bool, threads: int | None,
) -> int:  # fmt: skip
    """Measure captions by BLEU-1 to 4, chrF and CIDEr (extra: answers).

    DATA is anything that `mmsearch index` reads with captions, all of which are references.
    Exits with 5 if pictures had to be left out.
    """
    from mmsearch.answering import load_captioner
    from mmsearch.answering.captioning import judge_captions
    from mmsearch.readers import read
    from mmsearch.types import Sample
    from mmsearch.uris import printable

    samples, told = [], 0
    for one in read(data, split=split):
        if told == first:
            break
        samples.append(one)
        told += isinstance(one, Sample) and bool(one.captions)
    model = load_captioner(captioner, threads=threads, device=device)
    with Progress(quiet) as bar:
        result = judge_captions(samples, model, progress=bar.show)
    for left in result["skipped"]:
        note(f"left out: {printable(left['key'])}: {printable(left['reason'])}")
    if format_ == "json":
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo(f"{result['pictures']:,} pictures")
        for name, value in result["figures"].items():
            click.echo(f"{name:<8}{value:>8.2f}")
    return Exit.SOME_FAILED if result["skipped"] else Exit.OK


def _file(name: str) -> Item:
    from mmsearch.types import Item
    from mmsearch.uris import key_of, uri_of

    return Item(key_of(name), uri=uri_of(name))


def _pictures(collection: Collection, where: Where | None) -> Iterator[Item]:
    from mmsearch.pipeline import batched

    for keys in batched(collection.keys(where), 500):
        yield from (item for item in collection.get(keys) if item.kind == "image")


def _print_all(model: Captioner, items: Iterable[Item], format_: str) -> int:
    from mmsearch.answering.captioning import describe

    failed = sum(_print(group, format_) for group in describe(model, items))
    return Exit.SOME_FAILED if failed else Exit.OK


def _print(described: list[Described], format_: str) -> int:
    """Write the captions as they come; return how many pictures have none."""
    from mmsearch.uris import printable

    for one in described:
        if one.reason:
            note(f"left out: {printable(one.name)}: {printable(one.reason)}")
        elif format_ == "jsonl":
            row = {"schema": 1, "path": one.name, "key": one.item.key, "caption": one.caption}
            click.echo(json.dumps(row))
        else:
            click.echo(f"{printable(one.name)}\t{printable(one.caption)}")
    return sum(bool(one.reason) for one in described)
