"""`mmsearch train-answers`: a head that answers, on a dual encoder's frozen features, in torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

from mmsearch.answering.features import BATCH, Features, Floats
from mmsearch.answering.fusion import Ensemble, Fusion, export
from mmsearch.answering.head import FACTS, FORMAT, GRAPH
from mmsearch.answering.scores import of_people
from mmsearch.errors import BadPicture, BadSource
from mmsearch.files import write_json
from mmsearch.images import open_picture
from mmsearch.pipeline import batched, map_ahead
from mmsearch.readers.questions import Question
from mmsearch.sources import open_source
from mmsearch.types import Array, Skipped

Progress = Callable[[str, int, int], object]
_SIDES = {"left": "right", "right": "left"}


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How a head is trained. members: heads whose probabilities are averaged."""

    epochs: int = 30
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.5
    members: int = 3
    max_answers: int = 3_000
    flip: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """Questions with their frozen features.

    asked, mirrored: (questions, q), as they are and with left and right exchanged. seen,
    seen_mirrored: (pictures, c). picture: (questions,) the row of each question's picture.
    """

    questions: tuple[Question, ...]
    asked: Floats
    mirrored: Floats
    seen: Floats
    seen_mirrored: Floats
    picture: Any
    skipped: tuple[Skipped, ...]

    @property
    def pictures(self) -> list[str]:
        return [q.picture.item.key for q in self.questions]


def know(
    questions: Sequence[Question], features: Features, *, mirror: bool, threads: int,
    progress: Progress,
) -> Known:  # fmt: skip
    """Return the questions whose pictures can be opened, with their features.

    Args:
        questions: with answers.
        features: of the encoder.
        mirror: also work out the mirrored pictures and questions.
        threads: that decode.
        progress: called with what is done, how much of it, and of how much.

    Raises:
        BadSource: no picture can be opened.
    """
    samples = {q.picture.item.key: q.picture for q in questions}
    rows: dict[str, int] = {}
    seen: list[Floats] = []
    turned: list[Floats] = []
    skipped: list[Skipped] = []

    def prepare(sample: Any) -> tuple[str, Array] | Skipped:
        item = sample.item
        try:
            image = open_picture(open_source(item.uri), target=features.image_size).image
            return item.key, features.prepare(image)
        except (BadPicture, OSError, ValueError) as error:
            return Skipped(item.key, item.uri, str(error))

    found = map_ahead(prepare, samples.values(), threads=threads, ahead=3 * BATCH)
    for group in batched(found, BATCH):
        skipped += [one for one in group if isinstance(one, Skipped)]
        ready = [one for one in group if not isinstance(one, Skipped)]
        if ready:
            pixels = np.stack([array for _, array in ready])
            rows.update({key: len(rows) + n for n, (key, _) in enumerate(ready)})
            seen.append(features.pictures(pixels))
            if mirror:
                turned.append(features.pictures(np.ascontiguousarray(pixels[..., ::-1])))
        progress("pictures", len(rows) + len(skipped), len(samples))
    if not rows:
        raise BadSource(f"none of {len(samples):,} pictures can be opened: {skipped[0].reason}")
    kept = tuple(q for q in questions if q.picture.item.key in rows)
    texts = [q.question for q in kept]
    asked = features.questions(texts)
    mirrored = features.questions([_exchanged(t) for t in texts]) if mirror else asked
    whole = np.concatenate(seen)
    return Known(
        kept, asked, mirrored, whole, np.concatenate(turned) if mirror else whole,
        np.array([rows[q.picture.item.key] for q in kept]), tuple(skipped),
    )  # fmt: skip


def answer_of(question: Question) -> str:
    """Return the answer to learn: what most people said, or the parts of one, sorted."""
    if of_people(question):
        return Counter(question.answers).most_common(1)[0][0]
    return ", ".join(sorted(question.answers))


def answers_to_learn(questions: Sequence[Question], most: int) -> list[str]:
    """Return the most frequent answers, sorted."""
    counts = Counter(answer_of(q) for q in questions)
    best = sorted(counts, key=lambda a: (-counts[a], a))[:most]
    return sorted(best)


def fit(
    known: Known, answers: list[str], features: Features, config: FitConfig, *, sees: bool,
    progress: Progress,
) -> Ensemble:  # fmt: skip
    """Return a trained head. Without `sees` it is given the question alone.

    Raises:
        BadSource: there are fewer questions than a batch.
    """
    number = {answer: n for n, answer in enumerate(answers)}
    chosen = [n for n, q in enumerate(known.questions) if answer_of(q) in number]
    if len(chosen) < config.batch_size:
        raise BadSource(f"{len(chosen)} questions to learn from are fewer than a batch")
    rows = features.texts([a.replace("_", " ") for a in answers])
    target = torch.tensor([number[answer_of(known.questions[n])] for n in chosen])
    asked = [torch.from_numpy(block[chosen]) for block in (known.asked, known.mirrored)]
    seen = [torch.from_numpy(block) for block in (known.seen, known.seen_mirrored)]
    picture = torch.from_numpy(known.picture[chosen])
    members = []
    for member in range(config.members):
        torch.manual_seed(config.seed + member)
        head = Fusion(
            known.asked[chosen],
            known.seen,
            features.blocks,
            rows,
            dropout=config.dropout,
            sees=sees,
        )
        _train(head, asked, seen, picture, target, config)
        members.append(head)
        progress("heads", member + 1, config.members)
    whole = Ensemble(members)
    whole.eval()
    return whole


def predict(model: Ensemble, known: Known, answers: list[str]) -> list[str]:
    """Return the likeliest answer to each question."""
    said: list[str] = []
    with torch.no_grad():
        for at in range(0, len(known.questions), 256):
            asked = torch.from_numpy(known.asked[at : at + 256])
            seen = torch.from_numpy(known.seen[known.picture[at : at + 256]])
            said += [answers[n] for n in model(asked, seen).argmax(1).tolist()]
    return said


def write_head(
    folder: Path, model: Ensemble, answers: list[str], features: Features, spec: str,
    config: FitConfig,
) -> None:  # fmt: skip
    """Write the folder that `head:DIR` loads.

    Args:
        folder: is there already.
        model: from `fit`.
        answers: in its order.
        features: that it was trained on.
        spec: of their encoder.
        config: is recorded.

    Raises:
        OSError: it cannot be written.
    """
    width = model.members[0].question_mean.shape[0]
    export(model, folder / GRAPH, question=width, picture=sum(features.blocks))
    facts = {"format": FORMAT, "model": spec, "space": features.name, "answers": answers}
    write_json(folder / FACTS, {**facts, "config": asdict(config)})


def _train(
    head: Fusion, asked: list[Tensor], seen: list[Tensor], picture: Tensor, target: Tensor,
    config: FitConfig,
) -> None:  # fmt: skip
    count, size = len(target), config.batch_size
    steps = config.epochs * (count // size)
    optimizer = torch.optim.AdamW(head.parameters(), config.lr, weight_decay=config.weight_decay)
    up = max(0.1, 1.5 / max(steps, 2))  # of few steps, a rise of exactly one divides by zero
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.lr, total_steps=steps, pct_start=up
    )
    head.train()
    for _ in range(config.epochs):
        order = torch.randperm(count)
        for at in range(0, count - size + 1, size):
            batch = order[at : at + size]
            side = int(torch.rand(1) < 0.5) if config.flip else 0
            logits = head(asked[side][batch], seen[side][picture[batch]])
            loss = F.cross_entropy(logits, target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    head.eval()


def _exchanged(question: str) -> str:
    """Return the question about the mirrored picture."""
    return " ".join(_SIDES.get(word, word) for word in question.split())
