"""An evaluation as text: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmsearch.evaluation.losses import Split, Stage
from mmsearch.evaluation.result import Comparison, Evaluation, tie_notes
from mmsearch.metrics import HIT_RANKS
from mmsearch.uris import printable

RANKS = ("median_rank", "mean_rank")
STAGES = {
    "model": "model's own vectors",
    "exact": "stored, exact search",
    "index": "approximate index",
    "hybrid": "captions, words (--hybrid)",
    "hubness": "less what is like any picture",
    "filter": "filter, exact search",
    "filter_index": "filter and index",
}
Rows = Sequence[Sequence[str]]
_Table = Callable[[Rows], str]


def way(name: str) -> str:
    """Return "text_to_image" as people write it."""
    return name.replace("_to_", " -> ").replace("image", "picture")


def figure(name: str, value: float, *, signed: bool = False) -> str:
    """Return a figure as it is shown: per cent and mean ranks with a digit, medians as they are."""
    shown = f"{round(value, 1):g}" if name == "median_rank" else f"{value:.1f}"
    return f"+{shown}" if signed and value > 0 else shown


def heading(result: Evaluation) -> list[tuple[str, str]]:
    """Return what was evaluated, as (name, value)."""
    data = result.data
    split = f" (split {data['split']})" if data.get("split") else ""
    rows = [
        ("data", f"{printable(str(data['source']))}{split}: {data['pictures']:,} pictures, "
                 f"{data['texts']:,} texts"),
        ("model", f"{result.model}  ({result.space})"),
    ]  # fmt: skip
    if result.skipped:
        rows.append(("left out", f"{len(result.skipped):,} (see below)"))
    return rows


def figure_rows(result: Evaluation) -> Rows:
    """Return a header and a row for each figure, with its interval each way."""
    found = result.directions
    header = ["", *(f"{way(n)}  [95 %]" for n in found)]
    rows = [header, ["queries", *(f"{len(d.ranking):,}" for d in found.values())]]
    for name in next(iter(found.values())).figures:
        row = [label(name)]
        for d in found.values():
            low, high = (figure(name, v) for v in d.ci95[name])
            row.append(f"{figure(name, d.figures[name])}  [{low}, {high}]")
        rows.append(row)
    return rows


def label(name: str) -> str:
    """Return the name of a figure with its unit."""
    return name.replace("_", " ") if name in RANKS else f"{name} %"


def loss_rows(split: Split) -> Rows:
    """Return a header and a row for each stage of the split."""
    rows = [["", *(f"R@{k} %" for k in HIT_RANKS), "lost R@10", "p50 ms", "p99 ms"]]
    for stage in split.stages:
        rows.append([STAGES[stage.name], *_stage_cells(stage)])
    return rows


def loss_title(name: str, split: Split) -> str:
    """Return the heading of a split: which way, how many queries, how many can be answered."""
    title = f"where hits are lost, {way(name)} ({split.queries:,} queries"
    if split.answerable is None:
        return f"{title})"
    return f"{title}; {split.answerable:.1f} % have a relevant item that passes the filter)"


def encode_line(result: Evaluation) -> str:
    """Return the time to encode one query, or ""."""
    parts = [
        f"a {'picture' if kind == 'image' else kind} {p50:.1f} ms (p99 {p99:.1f})"
        for kind, (p50, p99) in result.encode_ms.items()
    ]
    return f"encoding one query: {', '.join(parts)}" if parts else ""


def notes(result: Evaluation) -> list[str]:
    """Return what a reader must know besides."""
    return [*result.notes, *tie_notes(result.directions)]


def difference_rows(comparison: Comparison, name: str) -> Rows:
    """Return a header and a row for each figure one way: A, B, B - A with its interval."""
    a, b = comparison.a.directions[name], comparison.b.directions[name]
    rows = [["", "A", "B", "B - A  [95 %]", "clear"]]
    for metric, d in comparison.differences[name].items():
        low, high = (figure(metric, v, signed=True) for v in (d.low, d.high))
        rows.append([
            label(metric), figure(metric, a.figures[metric]), figure(metric, b.figures[metric]),
            f"{figure(metric, d.difference, signed=True)}  [{low}, {high}]",
            "yes" if d.clear else "no",
        ])  # fmt: skip
    return rows


def as_text(result: Evaluation | Comparison) -> str:
    """Return the whole for a terminal."""
    if isinstance(result, Comparison):
        return _comparison(result, _aligned, "{}")
    return _evaluation(result, _aligned, "{}")


def as_markdown(result: Evaluation | Comparison) -> str:
    """Return the whole as Markdown."""
    if isinstance(result, Comparison):
        return _comparison(result, _markdown, "### {}")
    return _evaluation(result, _markdown, "### {}")


def _evaluation(result: Evaluation, table: _Table, title: str) -> str:
    parts = [_pairs(heading(result), table), table(figure_rows(result))]
    for name, split in result.losses.items():
        parts.append(title.format(loss_title(name, split)))
        parts.append(table(loss_rows(split)))
    parts.append(encode_line(result))
    parts += [f"note: {note}" for note in notes(result)]
    return "\n\n".join(p for p in parts if p)


def _comparison(result: Comparison, table: _Table, title: str) -> str:
    data, model = heading(result.a)[:2]
    parts = [_pairs([data, ("A", model[1]), ("B", heading(result.b)[1][1])], table)]
    for name in result.differences:
        parts += [title.format(way(name)), table(difference_rows(result, name))]
    return "\n\n".join(parts)


def _pairs(rows: Sequence[tuple[str, str]], table: _Table) -> str:
    if table is _markdown:
        return "\n".join(f"- {name}: {_escaped(value)}" for name, value in rows)
    return "\n".join(f"{name:9} {value}" for name, value in rows)


def _stage_cells(stage: Stage) -> list[str]:
    lost = "" if stage.lost is None else f"{stage.lost[max(HIT_RANKS)]:.1f}"
    times = [stage.p50_ms, stage.p99_ms]
    return [
        *(f"{stage.hits[k]:.1f}" for k in HIT_RANKS), lost,
        *("" if t is None else f"{t:.2f}" for t in times),
    ]  # fmt: skip


def _aligned(rows: Rows) -> str:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _markdown(rows: Rows) -> str:
    header, *body = rows
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(map(_escaped, row)) + " |" for row in (header, rule, *body))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


__all__ = [
    "STAGES", "as_markdown", "as_text", "difference_rows", "encode_line", "figure", "figure_rows",
    "heading", "label", "loss_rows", "loss_title", "notes", "way",
]  # fmt: skip
