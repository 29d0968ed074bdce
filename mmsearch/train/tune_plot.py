"""A search as a picture: how it went, what mattered, and each value against what it gave."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

COLUMNS = 4
STYLES: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": "tab:blue"},
    "infeasible": {"marker": "o", "facecolors": "none", "edgecolors": "tab:red"},
    "pruned": {"marker": "x", "color": "0.55"},
}


def draw(report: dict[str, Any], path: Path) -> bool:
    """Draw a report into a PNG; return whether matplotlib was there to do it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    names = list(report["importances"] or report["space"])
    rows = math.ceil(len(names) / COLUMNS)
    figure = Figure(figsize=(12, 3.6 + 2.7 * rows), layout="constrained")
    grid = figure.add_gridspec(1 + rows, COLUMNS, height_ratios=[1.3, *[1.0] * rows])
    _history(figure.add_subplot(grid[0, :2]), report)
    _bars(figure.add_subplot(grid[0, 2:]), report)
    first = None
    for i, name in enumerate(names):
        axes = figure.add_subplot(grid[1 + i // COLUMNS, i % COLUMNS], sharey=first)
        first = first or axes
        _slice(axes, report, name)
        if i % COLUMNS == 0:
            axes.set_ylabel(f"held-out R@{report['k']}, %")
    figure.savefig(path, dpi=110)
    return True


def _history(axes: Any, report: dict[str, Any]) -> None:
    """Each trial in the order in which it was made, and the best so far."""
    _scatter(axes, report, lambda row: row["trial"])
    best, line = report["base_scores"]["heldout"], []
    for row in sorted(report["trials"], key=lambda row: row["trial"]):
        if row["state"] == "complete":
            best = max(best, row["heldout"])
        line.append((row["trial"], best))
    axes.step(*zip(*line, strict=True), where="post", color="tab:blue", linewidth=1, label="best")
    axes.axhline(report["base_scores"]["heldout"], color="0.3", linestyle=":", label="base")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"held-out text->image R@{report['k']}, %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize="small")


def _bars(axes: Any, report: dict[str, Any]) -> None:
    if report["importances"] is None:
        axes.axis("off")
        axes.text(0.5, 0.5, report["importances_missing"], ha="center", wrap=True)
        return
    names = list(reversed(report["importances"]))
    axes.barh(names, [report["importances"][name] for name in names], color="tab:blue")
    axes.set_xlabel("share in reaching the best quarter (PED-ANOVA)")


def _slice(axes: Any, report: dict[str, Any], name: str) -> None:
    axis = report["space"][name]
    if "values" in axis:
        texts = [str(value) for value in axis["values"]]
        _scatter(axes, report, lambda row: texts.index(str(row["values"][name])))
        axes.set_xticks(range(len(texts)), texts)
        axes.set_xlim(-0.5, len(texts) - 0.5)
    else:
        _scatter(axes, report, lambda row: row["values"][name])
        if axis["log"]:
            _log_scale(axes, axis["low"], axis["high"])
    axes.set_xlabel(name)


def _log_scale(axes: Any, low: float, high: float) -> None:
    """Label the decades of a wide range, 1, 2 and 5 of a narrow one: more would overlap."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(low / 1.2, high * 1.2)
    axes.xaxis.set_minor_formatter(NullFormatter())
    if high / low <= 100:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _scatter(axes: Any, report: dict[str, Any], place: Any) -> None:
    for state, style in STYLES.items():
        rows = [r for r in report["trials"] if r["state"] == state and r["heldout"] is not None]
        if rows:
            x, y = [place(row) for row in rows], [row["heldout"] for row in rows]
            axes.scatter(x, y, s=28, label=state, **style)
    axes.grid(alpha=0.3)
