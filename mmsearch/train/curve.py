"""What a run has done so far: a line of JSON a step, a picture, and TensorBoard where it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Log:
    """The lines of DIR/log.jsonl: steps (step, loss, scale, lr) and evaluations (step, heldout).

    Opened by a run that goes on, it forgets the lines after the step it goes on from: they are
    written again, alike.
    """

    def __init__(self, folder: Path, *, from_step: int) -> None:
        self._path = folder / "log.jsonl"
        kept = [e for e in read_log(folder) if e["step"] <= from_step] if from_step else []
        self._path.write_text("".join(_line(e) for e in kept), encoding="utf-8")
        self._board = _board(folder / "tensorboard", from_step)

    def add(self, entry: Entry) -> None:
        """Write a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))
        if self._board is not None:
            for name, value in _scalars(entry):
                self._board.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        """Let go of TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def read_log(folder: Path) -> list[Entry]:
    """Return the lines of a run; a line that was cut off by a crash is left out."""
    path = folder / "log.jsonl"
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def draw(entries: Sequence[Entry], path: Path, *, k: int) -> bool:
    """Draw loss and R@k over the steps into a PNG; return whether matplotlib was there to do it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    steps = [e for e in entries if "loss" in e]
    measured = [e for e in entries if "heldout" in e]
    figure = Figure(figsize=(8, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot([e["step"] for e in steps], [e["loss"] for e in steps], linewidth=0.8, color="0.3")
    top.set_ylabel("loss")
    for name, label in (("heldout", "held-out"), ("general", "general set")):
        points = [(e["step"], e[name]) for e in measured if e.get(name) is not None]
        if points:
            bottom.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
    bottom.set_ylabel(f"text->image R@{k}, %")
    bottom.set_xlabel("step")
    if measured:
        bottom.legend()
    for axes in (top, bottom):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    return True


def _line(entry: Entry) -> str:
    return json.dumps(entry) + "\n"


def _scalars(entry: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(n, v) for n, v in entry.items() if n != "step" and isinstance(v, int | float)]


def _board(folder: Path, from_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=from_step + 1 if from_step else None)
