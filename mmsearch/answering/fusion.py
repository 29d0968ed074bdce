"""The small head that answers, in torch: frozen features of a question and a picture to answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

from mmsearch.answering.features import Floats

DIRECTIONS = 16  # that are kept of each block of a picture's features
HIDDEN = 256
_SMALL = 1e-3


class Fusion(nn.Module):
    """Questions (n, q) and pictures (n, c) to logits (n, answers).

    A picture's blocks are each turned to their main directions; question and picture meet in
    their sum and their product. An answer's logit is a plain classifier's, plus one from the
    answer's own text vector, plus how well it fits the picture by the dual encoder, weighed
    by the question. Without `sees`, all that is of the picture is 0.
    """

    def __init__(
        self, questions: Floats, pictures: Floats, blocks: Sequence[int], answers: Floats, *,
        dropout: float, sees: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.sees, self.blocks, self.drop = sees, tuple(blocks), dropout
        self._keep("question", questions.mean(0), questions.std(0))
        bases, at = [], 0
        for width in blocks:
            bases.append(_directions(pictures[:, at : at + width]))
            at += width
        self._keep("picture", pictures.mean(0), np.ones(1, np.float32))
        self.register_buffer("basis", torch.from_numpy(_block_diagonal(bases)))
        fits = pictures[:, -blocks[-1] :] @ answers.T
        self._keep("fit", fits.mean(0), fits.std(0))
        self.register_buffer("rows", torch.from_numpy(answers))
        own = (answers - answers.mean(0)) / (answers.std(0) + _SMALL)
        self.register_buffer("own", torch.from_numpy(own.astype(np.float32)))
        width, dim = self.basis.shape[1], answers.shape[1]
        self.ask = nn.Linear(questions.shape[1], HIDDEN)
        self.look = nn.Linear(width, HIDDEN)
        self.gate = nn.Linear(HIDDEN, HIDDEN)
        self.meet = nn.Linear(HIDDEN, HIDDEN)
        self.classify = nn.Linear(HIDDEN, len(answers))
        self.name = nn.Linear(HIDDEN, dim)
        self.trust = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.trust.weight)
        nn.init.constant_(self.trust.bias, 0.3)

    def forward(self, question: Tensor, picture: Tensor) -> Tensor:
        """Return the logits of the answers."""
        asked = (question - self.question_mean) / (self.question_std + _SMALL)
        asked = F.gelu(self.ask(F.dropout(asked, self.drop * 0.6, self.training)))
        if self.sees:
            seen = (picture - self.picture_mean) @ self.basis
            seen = F.gelu(self.look(F.dropout(seen, self.drop, self.training)))
            # Hadamard product of the two, as in MLB (arXiv:1610.04325), beside their sum.
            met = asked + seen + asked * self.gate(seen)
        else:
            met = asked
        met = F.gelu(self.meet(F.dropout(met, self.drop, self.training)))
        met = F.dropout(met, self.drop, self.training)
        logits: Tensor = self.classify(met)
        logits = logits + self.name(met) @ self.own.T / self.own.shape[1] ** 0.5
        if self.sees:
            fit = picture[:, -self.blocks[-1] :] @ self.rows.T
            fit = (fit - self.fit_mean) / (self.fit_std + _SMALL)
            logits = logits + self.trust(asked) * fit
        return logits

    def _keep(self, name: str, mean: Any, std: Any) -> None:
        self.register_buffer(f"{name}_mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer(f"{name}_std", torch.from_numpy(std.astype(np.float32)))


class Ensemble(nn.Module):
    """The mean of some heads' probabilities."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, question: Tensor, picture: Tensor) -> Tensor:
        """Return (n, answers) probabilities."""
        return torch.stack([m(question, picture).softmax(1) for m in self.members]).mean(0)


def export(model: Ensemble, path: Path, *, question: int, picture: int) -> None:
    """Write the head as one ONNX file, its large weights as float16.

    Raises:
        OSError: it cannot be written.
    """
    import warnings

    import onnx

    from mmsearch.encoders.onnx_writer import OPSET

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of constants that the tracer takes for granted
        torch.onnx.export(
            model.eval(), (torch.zeros(2, question), torch.zeros(2, picture)), str(path),
            input_names=["question", "picture"], output_names=["answers"],
            dynamic_axes={name: {0: "n"} for name in ("question", "picture", "answers")},
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    from mmsearch.train.export_starter import store_narrow

    graph = onnx.load(str(path))
    store_narrow(graph)
    onnx.save_model(graph, str(path))


def _directions(block: Floats) -> Floats:
    """Return (width, k): standardised, turned to the main directions, all to one scale."""
    mean, std = block.mean(0), block.std(0) + _SMALL
    scaled = (block - mean) / std
    _, _, turned = np.linalg.svd(scaled, full_matrices=False)
    basis = turned[:DIRECTIONS].T
    scale = np.sqrt(np.square(scaled @ basis).mean())
    out: Floats = (basis / (std[:, None] * (scale + _SMALL))).astype(np.float32)
    return out


def _block_diagonal(bases: Sequence[Floats]) -> Floats:
    out = np.zeros([sum(b.shape[n] for b in bases) for n in (0, 1)], np.float32)
    row = column = 0
    for base in bases:
        out[row : row + base.shape[0], column : column + base.shape[1]] = base
        row, column = row + base.shape[0], column + base.shape[1]
    return out
