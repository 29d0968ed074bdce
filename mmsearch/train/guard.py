"""Base against tuned, with confidence; and whether the tuned model may take the base's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.train.measure import Ranks

RESAMPLES = 2000
WAYS = ("text_to_image", "image_to_text")


@dataclass(frozen=True, slots=True)
class Difference:
    """tuned - base, in points; low and high: its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the tuned model is promoted, and why not if not."""

    promoted: bool
    reasons: tuple[str, ...]

    def facts(self, *, force: bool) -> dict[str, Any]:
        """Return what a report says of it. force: whether a refused model is kept."""
        return {
            "promoted": self.promoted,
            "reasons": list(self.reasons),
            "forced": force and not self.promoted,
        }


def difference(base: Ranks, tuned: Ranks, k: int, *, seed: int = 0) -> Difference:
    """Return the change of text->image R@k, in points.

    The interval is a paired bootstrap over pictures, not over captions: the captions of one
    picture hit or miss together, and counting them as independent would make it too narrow.

    Args:
        base: ranks of the same queries.
        tuned: ranks of the same queries.
        k: of R@k.
        seed: of the resampling.
    """
    change = ((tuned.text_to_image <= k).astype(float) - (base.text_to_image <= k)) * 100
    n = len(base.image_to_text)
    sums = np.bincount(base.owner, change, minlength=n)
    counts = np.bincount(base.owner, minlength=n)
    # Percentile bootstrap, Efron 1979; the picture is the unit that is drawn.
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    means: npt.NDArray[np.float64] = (drawn @ sums) / np.maximum(drawn @ counts, 1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(float(change.mean()), float(low), float(high))


def judge(heldout: Difference, general: Difference | None, *, k: int, tolerance: float) -> Verdict:
    """Return whether a tuned model is promoted.

    Only if it is better on the held-out set beyond chance (the 95 % interval of the change lies
    above 0: it was picked as the best of several points on this very set, so a gain within chance
    is what a worthless run has, too), and loses at most `tolerance` points on the general set.

    Args:
        heldout: change of text->image R@k on the held-out set.
        general: the same on the general set; None without one.
        k: of R@k, for the message.
        tolerance: in points.
    """
    reasons = []
    if heldout.value <= 0:
        reasons.append(f"held-out R@{k} does not rise: {heldout} points")
    elif heldout.low <= 0:
        reasons.append(f"held-out R@{k} rises within chance only: {heldout} points")
    if general is not None and general.value < -tolerance - 1e-9:
        reasons.append(f"general R@{k} falls by more than {tolerance:g} points: {general} points")
    return Verdict(not reasons, tuple(reasons))


def compared(base: Ranks, tuned: Ranks, k: int, *, seed: int) -> dict[str, Any]:
    """Return figures of both models on one set, and the change, as JSON values."""
    return {
        "pictures": len(base.image_to_text),
        "captions": len(base.text_to_image),
        "base": base.figures(),
        "tuned": tuned.figures(),
        "change": asdict(difference(base, tuned, k, seed=seed)),
    }


def markdown(report: dict[str, Any]) -> str:
    """Return a report as Markdown: the verdict, a table for each set, the points tried."""
    k = report["k"]
    done = "promoted" if report["promoted"] else "refused"
    lines = [f"# {report['base']} tuned on {report['pairs']}: {done}", ""]
    lines += [f"- {reason}" for reason in report["reasons"]]
    lines.append(f"- {report['summary']}")
    if report["skipped"]["count"]:
        lines.append(f"- {skipped(report)}")
    lines.append("")
    for name in ("heldout", "general"):
        if report.get(name):
            lines += _table(name, report[name], k)
    lines += [
        "## Between base (0) and tuned (1)",
        "",
        f"| alpha | held-out R@{k} | general R@{k} |",
    ]
    lines.append("|---|---|---|")
    # A refused run has chosen nothing: the tables above show its best try.
    word = "chosen" if report["promoted"] else "shown"
    for point in report["wiseft"]:
        general = "" if point["general"] is None else f"{point['general']:.1f}"
        mark = f" **{word}**" if point["alpha"] == report["alpha"] else ""
        lines.append(f"| {point['alpha']:g}{mark} | {point['heldout']:.1f} | {general} |")
    return "\n".join(lines) + "\n"


def skipped(report: dict[str, Any]) -> str:
    """Return a line on the pictures that could not be used."""
    found = report["skipped"]
    key, reason = next(iter(found["first"].items()))
    more = f" and {found['count'] - 1} more" if found["count"] > 1 else ""
    return f"left out: {key} ({reason}){more}"


def _table(name: str, found: dict[str, Any], k: int) -> list[str]:
    title = {"heldout": "Held-out set", "general": "General set"}[name]
    columns = ("R@1", "R@5", "R@10", "median_rank")
    change = Difference(**found["change"])
    return [
        f"## {title}: {found['pictures']} pictures, {found['captions']} captions",
        "",
        f"Change of text->image R@{k}: {change} points (95 % interval, paired bootstrap).",
        "",
        "| | model | R@1 | R@5 | R@10 | median rank |",
        "|---|---|---|---|---|---|",
        *(
            f"| {way.replace('_to_', ' -> ')} | {model} | "
            + " | ".join(f"{found[model][way][c]:g}" for c in columns)
            + " |"
            for way in WAYS
            for model in ("base", "tuned")
        ),
        "",
    ]


def fits_k(pictures: int, k: int) -> int:
    """Return the k to judge by: smaller where k would take in half of a small set."""
    choices: Sequence[int] = [c for c in (10, 5, 1) if c <= k and c * 4 <= pictures]
    return choices[0] if choices else 1
