"""From questions to a head in a folder, and how much it owes to the pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmsearch.answer_metrics import Similarity
from mmsearch.answering.features import Features
from mmsearch.answering.fitting import (
    FitConfig,
    Known,
    Progress,
    answer_of,
    answers_to_learn,
    fit,
    know,
    predict,
    write_head,
)
from mmsearch.answering.scores import Values, change, per_question, summary
from mmsearch.files import replace_folder, write_json
from mmsearch.readers.questions import Question

HEAD, BLIND, MAJORITY = "head", "question only", "majority answer"
REPORT = "report.json"


def learn(
    train: Sequence[Question], test: Sequence[Question], spec: str, out: Path, config: FitConfig, *,
    similar: Mapping[str, Similarity], threads: int, progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Train a head, write it to a folder, and return its report.

    The report compares it on the test questions with the most frequent answer, and with a head
    that is trained alike but sees no picture.

    Args:
        train: to learn from.
        test: to measure on; none, no comparison.
        spec: of the encoder.
        out: the folder; what is in it is replaced.
        config: of the training.
        similar: WUPS to measure besides, as `per_question` takes it.
        threads: that decode, and of the encoder.
        progress: as `know` calls it.

    Raises:
        BadSource: too few questions, or none of the pictures can be opened.
        ModelUnavailable, UnknownName, MissingExtra: as `load_encoder`.
        OSError: the folder cannot be written.
    """
    import torch

    # On busy cores two threads of torch wait for each other most of the time.
    torch.set_num_threads(threads)
    features = Features(spec, threads=threads)
    known = know(train, features, mirror=config.flip, threads=threads, progress=progress)
    answers = answers_to_learn(known.questions, config.max_answers)
    model = fit(known, answers, features, config, sees=True, progress=progress)
    report: dict[str, Any] = {
        "schema": 1,
        "model": spec,
        "config": asdict(config),
        "answers": len(answers),
        "train": _size(known),
        "skipped": [{"key": s.key, "reason": s.reason} for s in known.skipped],
    }
    if test:
        held = know(test, features, mirror=False, threads=threads, progress=progress)
        blind = fit(known, answers, features, config, sees=False, progress=progress)
        most = Counter(answer_of(q) for q in known.questions).most_common(1)[0][0]
        said = {
            HEAD: predict(model, held, answers),
            BLIND: predict(blind, held, answers),
            MAJORITY: [most] * len(held.questions),
        }
        values = {name: per_question(held.questions, all_, similar) for name, all_ in said.items()}
        report |= {"test": _size(held), **_compared(values, held)}
        report["skipped"] += [{"key": s.key, "reason": s.reason} for s in held.skipped]

    def write(folder: Path) -> None:
        write_head(folder, model, answers, features, spec, config)
        write_json(folder / REPORT, report)

    replace_folder(out, write)
    return report


def _size(known: Known) -> dict[str, int]:
    return {"questions": len(known.questions), "pictures": len(known.seen)}


def _compared(values: Mapping[str, Values], held: Known) -> dict[str, Any]:
    where = held.pictures
    return {
        "figures": {name: summary(own, where) for name, own in values.items()},
        "over": {name: change(values[name], values[HEAD], where) for name in (BLIND, MAJORITY)},
    }
