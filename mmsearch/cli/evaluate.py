"""`mmsearch eval`: how good is the search, and where is it lost."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.hybrid import HYBRID_WEIGHT, answering
from mmsearch.cli.options import (
    build_filter,
    filter_options,
    is_default,
    is_terminal,
    note,
    store_options,
    threads_option,
)
from mmsearch.cli.reranking import CACHE, REGIONS, SPECS, WEIGHT, token_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tqdm import tqdm

    from index_store import Collection, Where
    from mmsearch.evaluation import Comparison, Embedded, Evaluation, Pairs
    from mmsearch.evaluation.rerank_gain import RerankGain
    from mmsearch.types import Encoder, Skipped

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("eval", short_help="Measure how good the search is.")
@click.argument("data", required=False)
@click.option("--model", envvar="MMSEARCH_MODEL", metavar="SPEC",
              help="Encoder [default: auto; of a collection, its own].")  # fmt: skip
@click.option("--compare", nargs=2, metavar="A B", help="Two encoders, and what B has over A.")
@click.option("--split", metavar="NAME",
              help="Split of a data set, or all [default: test where there is one].")  # fmt: skip
@click.option("--group", metavar="FIELD",
              help="Pictures with the same value answer one another's captions.")  # fmt: skip
@click.option("--merge-captions", is_flag=True, help="Captions that say the same are one text.")
@click.option("--queries", type=FILE, metavar="FILE",
              help="Of a collection: lines of id, tab, text.")  # fmt: skip
@click.option("--qrels", type=FILE, metavar="FILE",
              help="Of a collection: lines of query id, 0, item key, grade.")  # fmt: skip
@click.option("--kind", type=click.Choice(["image", "text"]), default="image", show_default=True,
              help="Of a collection: what is searched.")  # fmt: skip
@click.option("--hybrid/--no-hybrid", default=False,
              help="Of a collection: show also what captions and words find, as search --hybrid "
              "does.  [default: no-hybrid]")  # fmt: skip
@HYBRID_WEIGHT
@filter_options
@click.option("--ann", is_flag=True, help="Build an approximate index too, to see what it loses.")
@click.option("--effort", type=click.IntRange(min=1), metavar="N",
              help="Candidates that the approximate index may name.")  # fmt: skip
@click.option("--resamples", type=click.IntRange(min=10), default=1_000, show_default=True,
              metavar="N", help="Of the bootstrap.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Of the bootstrap.")  # fmt: skip
@click.option("--format", "format_", type=click.Choice(["table", "json", "markdown"]),
              default="table", show_default=True, help="How to print.")  # fmt: skip
@click.option("--html", type=FILE, metavar="OUT",
              help="Write a report with pictures of hits and misses too.")  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="No progress: outcome and warnings only.")
@click.option("--reranker", metavar="SPEC",
              help=f"Of DATA: show what re-ranking gains, both ways: {SPECS}.")  # fmt: skip
@click.option("--candidates", type=click.IntRange(2, 10_000), default=50, show_default=True,
              metavar="N", help="With --reranker: hits to look at again.")  # fmt: skip
@WEIGHT
@REGIONS
@CACHE
@threads_option
@store_options
def eval_command(
    data: str | None, compare: tuple[str, str] | None, format_: str, html: Path | None,
    quiet: bool, **options: Any,
) -> int:  # fmt: skip
    """Measure how good the search is: on pairs of pictures and captions, or on a collection.

    \b
    mmsearch eval flickr8k/dataset.json --html report.html
    mmsearch eval pairs.csv --compare starter onnx:./tuned
    mmsearch eval --collection default --queries q.tsv --qrels judged.qrels

    DATA is anything that `mmsearch index` reads with captions: a data set such as Karpathy's or
    COCO's JSON, a table of pairs, a tar, or a folder with captions. Every figure has its 95 %
    interval; docs/evaluation.md says what each one means. Exits with 5 if pictures had to be
    left out.
    """
    # Everything about the call is checked before a model is loaded.
    _check_call(data, compare, html, options)
    where = build_filter(options["where"], options["paths"])
    gain = None
    with Progress(quiet) as bar:
        common = {name: options[name] for name in ("resamples", "seed")}
        common["progress"] = bar.show
        if data is None:
            result, embedded = _collection(options, where, common, quiet)
        elif compare:
            comparison = _comparison(data, compare, options, common)
            _write(comparison, format_)
            return _say_skipped(comparison.a.skipped)
        else:
            result, embedded = _pairs(data, options, where, common)
            gain = _gain(embedded, options, common) if options["reranker"] else None
        if html:
            _write_html(html, result, embedded)
    _write(result, format_, gain)
    return _say_skipped(result.skipped)


def _check_call(
    data: str | None, compare: tuple[str, str] | None, html: Path | None, options: dict[str, Any]
) -> None:
    """Raise UsageError for options that do not go together."""
    judged = [name for name in ("queries", "qrels") if options[name]]
    if data is None and len(judged) < 2:
        raise click.UsageError("give DATA, or --queries and --qrels for a collection")
    if data is not None and judged:
        raise click.UsageError("--queries and --qrels are for a collection; leave out DATA")
    if data is not None and options["hybrid"] and not is_default("hybrid"):
        raise click.UsageError("--hybrid is for a collection: give --queries and --qrels, not DATA")
    pairs_only = {"--split": "split", "--group": "group", "--merge-captions": "merge_captions",
                  "--ann": "ann"}  # fmt: skip
    if data is None:
        wrong = [flag for flag, name in pairs_only.items() if options[name]]
        if options["reranker"]:
            wrong.append("--reranker")
        if wrong or compare:
            raise click.UsageError(f"{(wrong or ['--compare'])[0]} needs DATA")
    if compare:
        # Not --model: it may come from the environment.
        single = {
            "--reranker": "reranker",
            "--where": "where",
            "--path": "paths",
            "--ann": "ann",
            "--effort": "effort",
        }
        wrong = [flag for flag, name in single.items() if options[name]]
        if wrong or html:
            raise click.UsageError(f"{(wrong or ['--html'])[0]} cannot go with --compare")
    if html and not html.absolute().parent.is_dir():
        raise click.UsageError(f"there is no folder for {html}")


def _read(data: str, options: dict[str, Any]) -> Pairs:
    from mmsearch.evaluation import read_pairs

    chosen = {name: options[name] for name in ("split", "group", "merge_captions")}
    pairs = read_pairs(data, **chosen)
    if pairs.split and options["split"] is None:
        note(f"measuring on the split {pairs.split!r}; --split all takes all")
    return pairs


def _pairs(
    data: str, options: dict[str, Any], where: Where | None, common: dict[str, Any]
) -> tuple[Evaluation, Embedded]:
    from mmsearch.encoders import load_encoder, resolve_model
    from mmsearch.evaluation import evaluate_pairs

    pairs = _read(data, options)
    model = resolve_model(options["model"] or "auto")
    encoder = load_encoder(model, threads=options["threads"])
    return evaluate_pairs(
        pairs, encoder, model, where=where, ann=options["ann"], effort=options["effort"],
        threads=options["threads"], **common,
    )  # fmt: skip


def _comparison(
    data: str, models: tuple[str, str], options: dict[str, Any], common: dict[str, Any]
) -> Comparison:
    from mmsearch.encoders import load_encoder, resolve_model
    from mmsearch.evaluation import compare_models

    pairs = _read(data, options)
    specs = [resolve_model(spec) for spec in models]
    encoders = [load_encoder(spec, threads=options["threads"]) for spec in specs]
    return compare_models(pairs, encoders, specs, threads=options["threads"], **common)


def _collection(
    options: dict[str, Any], where: Where | None, common: dict[str, Any], quiet: bool
) -> tuple[Evaluation, Embedded | None]:
    from index_store import Store
    from mmsearch.encoders import load_encoder
    from mmsearch.evaluation import evaluate_collection

    with Store.open(options["store"], readonly=True) as store:
        collection = store.collection(options["collection"])
        model = (None if is_default("model") else options["model"]) or collection.model
        encoder = load_encoder(model, threads=options["threads"], towers="text")
        with _hybrid(collection, encoder, options, quiet) as also:
            return evaluate_collection(
                collection, encoder, options["queries"], options["qrels"], model=model,
                kind=options["kind"], where=where, effort=options["effort"], also=also, **common,
            )  # fmt: skip


@contextmanager
def _hybrid(
    collection: Collection, encoder: Encoder, options: dict[str, Any], quiet: bool
) -> Iterator[dict[str, Callable[[str], list[str]]]]:
    """Yield the search with captions and words by its name, if it was asked for."""
    if not options["hybrid"]:
        yield {}
        return
    from mmsearch.metrics import HIT_RANKS
    from mmsearch.search import Engine
    from mmsearch.types import Query

    engine, weight = Engine(collection, encoder), options["hybrid_weight"]
    with answering(engine, weight, quiet=quiet) as answer:

        def found(text: str) -> list[str]:
            (hits,) = answer([Query(text, k=max(HIT_RANKS), kind=options["kind"])])
            return [hit.item.key for hit in hits]

        yield {"hybrid": found}


def _gain(embedded: Embedded, options: dict[str, Any], common: dict[str, Any]) -> RerankGain:
    from mmsearch.encoders import resolve_model
    from mmsearch.evaluation.rerank_gain import rerank_gain
    from mmsearch.reranking import Second, load_reranker

    model = resolve_model(options["model"] or "auto")
    reranker = load_reranker(
        options["reranker"], model, threads=options["threads"], regions=options["regions"],
        cache=token_cache(options["rerank_cache"]),
    )  # fmt: skip
    second = Second(reranker, options["candidates"], weight=options["rerank_weight"])
    return rerank_gain(embedded, second, **common)


def _write(result: Evaluation | Comparison, format_: str, gain: RerankGain | None = None) -> None:
    from mmsearch.evaluation.tables import as_markdown, as_text

    if format_ == "json":
        more = {} if gain is None else {"rerank": gain.as_dict()}
        click.echo(json.dumps(result.as_dict() | more, indent=2))
    else:
        click.echo(as_markdown(result) if format_ == "markdown" else as_text(result))
        if gain is not None:
            click.echo("\n" + gain.as_text())


def _write_html(path: Path, result: Evaluation, embedded: Embedded | None) -> None:
    from mmsearch.evaluation.page import html_report

    try:
        path.write_text(html_report(result, embedded), encoding="utf8")
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from error


def _say_skipped(skipped: Sequence[Skipped]) -> int:
    from mmsearch.uris import printable

    for one in skipped[:5]:
        note(f"left out: {printable(one.key)}: {printable(one.reason)}")
    if len(skipped) > 5:
        note(f"... and {len(skipped) - 5:,} more; --format json lists them all")
    return Exit.SOME_FAILED if skipped else Exit.OK


class Progress:
    """One bar on stderr for each part of the work; silent where stderr is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self._silent = quiet or not is_terminal()
        self._bar: tqdm[Any] | None = None
        self._what = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` of this part are done."""
        if self._silent:
            return
        if self._bar is None or what != self._what:
            from tqdm import tqdm

            self.__exit__()
            self._bar, self._what = tqdm(desc=what, total=total, smoothing=0.05), what
        self._bar.update(done - self._bar.n)
