"""A stored collection on judged queries: a file of queries and TREC's qrels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_store import Collection, Compare, Item, Where
from index_store.types import Kind
from mmsearch.errors import BadSource
from mmsearch.evaluation.datasets import time_each
from mmsearch.evaluation.direction import measure
from mmsearch.evaluation.embedding import Embedded, Progress, embed_texts
from mmsearch.evaluation.losses import Way, split_loss
from mmsearch.evaluation.pairs import Pairs
from mmsearch.evaluation.ranks import relevance
from mmsearch.evaluation.result import Evaluation
from mmsearch.metrics import RESAMPLES
from mmsearch.types import Encoder, Sample
from mmsearch.uris import is_part, path_of, printable


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries that can be evaluated: ids and texts, and for each {row of an item: grade}.

    notes: what was left out.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    grades: tuple[Mapping[int, float], ...]
    notes: tuple[str, ...]


def read_queries(path: str | Path) -> dict[str, str]:
    """Return the text of each query, by its id, from lines of `id<TAB>text`.

    Raises:
        BadSource: the file cannot be read, a line has no tab, or an id comes twice.
    """
    queries: dict[str, str] = {}
    for n, line in _lines(path):
        name, tab, text = line.partition("\t")
        if not tab or not text.strip():
            raise BadSource(f"{path}, line {n}: expected an id, a tab, and the query's text")
        if name in queries:
            raise BadSource(f"{path}, line {n}: the query {name!r} is there already")
        queries[name] = text.strip()
    return queries


def read_qrels(path: str | Path) -> dict[str, dict[str, float]]:
    """Return the grade of each judged item, by query id and item key.

    Lines are TREC's: query id, an ignored column, item key, grade; separated by tabs, or by
    white space where the key has none.

    Raises:
        BadSource: the file cannot be read, or a line is not like that.
    """
    qrels: dict[str, dict[str, float]] = {}
    for n, line in _lines(path):
        parts = line.split("\t") if line.count("\t") == 3 else line.split()
        try:
            query, _, key, number = parts
            grade = float(number)
            if not math.isfinite(grade):
                raise ValueError(number)
            qrels.setdefault(query, {})[key] = grade
        except ValueError as error:
            what = "expected query id, 0, item key, grade, with tabs between"
            raise BadSource(f"{path}, line {n}: {what}") from error
    return qrels


def judge(
    queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, float]], items: Sequence[Item]
) -> Judged:
    """Return the queries that have a relevant item, with the rows of these among `items`.

    An item is named by its key, or by its file's name where only one item has it. Grades of 0
    and below are irrelevant. What is left out is said in `notes`.
    """
    rows = {item.key: row for row, item in enumerate(items)}
    names: dict[str, int] = {}
    for row, item in enumerate(items):
        name = str(item.meta.get("name") or "")
        names[name] = -1 if name in names else row
    ids, texts, grades, absent, empty = [], [], [], 0, 0
    for query, text in queries.items():
        found: dict[int, float] = {}
        for key, grade in qrels.get(query, {}).items():
            row = rows.get(key, names.get(key, -1))
            absent += row < 0 < grade
            if row >= 0 and grade > 0:
                found[row] = grade
        if found:
            ids.append(query)
            texts.append(text)
            grades.append(found)
        else:
            empty += 1
    unknown = sum(query not in queries for query in qrels)
    notes = [
        f"{count} {what}"
        for count, what in (
            (absent, "relevant items of the qrels are not in the collection"),
            (empty, "queries have no relevant item in the collection; they were left out"),
            (unknown, "queries of the qrels are not in the file of queries"),
        )
        if count
    ]
    return Judged(tuple(ids), tuple(texts), tuple(grades), tuple(notes))


def evaluate_collection(
    collection: Collection, encoder: Encoder, queries: str | Path, qrels: str | Path,
    *, model: str = "", kind: Kind = "image", where: Where | None = None,
    effort: int | None = None, also: Mapping[str, Callable[[str], Sequence[str]]] | None = None,
    resamples: int = RESAMPLES, seed: int = 0, progress: Progress | None = None,
) -> tuple[Evaluation, Embedded | None]:  # fmt: skip
    """Return how well a stored collection answers judged text queries; and, of pictures, vectors.

    The figures are of exact search over the stored vectors; the rest is in the split.

    Args:
        collection: what is searched.
        encoder: of its space.
        queries: a file for `read_queries`.
        qrels: a file for `read_qrels`.
        model: the encoder's spec, for the report; "" is the collection's.
        kind: of the items that are searched.
        where: also measure what this filter loses.
        effort: candidates that the index may name.
        also: other ways to search, by name, for the split: the keys of a text's best hits.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: as in `evaluate_pairs`.

    Raises:
        SpaceMismatch: the encoder is not the collection's.
        BadSource: a file is not as it should be, or no query has a relevant item.
    """
    collection.check_space(encoder.space)
    items = collection.get(collection.keys(Compare("kind", "=", kind)))
    judged = judge(read_queries(queries), read_qrels(qrels), items)
    if not judged.ids:
        raise BadSource("; ".join(["no query has a relevant item", *judged.notes]))
    vectors = embed_texts(encoder, judged.texts, progress)
    rows = collection.vectors([i.key for i in items])
    direction = measure(
        vectors, rows, relevance(judged.grades), judged.ids, resamples=resamples, seed=seed
    )
    wanted = [frozenset(items[row].key for row in found) for found in judged.grades]
    ways: dict[str, Way] = {
        name: lambda n, way=way: way(judged.texts[n])  # type: ignore[misc]
        for name, way in (also or {}).items()
    }
    loss = split_loss(
        collection, vectors, wanted, direction.ranking.first.tolist(), kind,
        where=where, effort=effort, seed=seed, also=ways, progress=progress,
    )  # fmt: skip
    data = _describe(collection, queries, qrels)
    timed = {"text": time_each(lambda text: encoder.encode_texts([text]), judged.texts)}
    result = Evaluation(
        data, model or collection.model, encoder.space.name, {f"text_to_{kind}": direction},
        {f"text_to_{kind}": loss}, timed, notes=judged.notes,
    )  # fmt: skip
    pairs = Pairs(collection.name, tuple(map(_sample, items)), judged.texts, (), ())
    return result, Embedded(pairs, rows, vectors) if kind == "image" else None


def _describe(collection: Collection, queries: str | Path, qrels: str | Path) -> dict[str, Any]:
    return {
        "source": collection.name,
        "split": "",
        "pictures": collection.count("image"),
        "texts": collection.count("text"),
        "skipped": 0,
        "queries": str(queries),
        "qrels": str(qrels),
    }


def _sample(item: Item) -> Sample:
    whole = item.uri.startswith("file:") and not is_part(item.uri)
    return Sample(item, path_of(item.uri) if whole else "")


def _lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that are not empty."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadSource(f"cannot read {printable(str(path))}: {reason}") from error
    for n, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield n, line.rstrip("\r")


__all__ = ["Judged", "evaluate_collection", "judge", "read_qrels", "read_queries"]
