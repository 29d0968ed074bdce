"""The training loop of a re-ranker: groups to gradients to steps, measured, saved, taken up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name that every torch program uses)

from mmsearch.train.curve import Log
from mmsearch.train.ema import Ema
from mmsearch.train.fusion_model import Fusion
from mmsearch.train.loop import RESUME, mixed
from mmsearch.train.optimizer import rate_at, set_rates
from mmsearch.train.pairs import Ids
from mmsearch.train.rerank_config import RerankConfig
from mmsearch.train.rerank_data import RerankSet
from mmsearch.train.rerank_groups import grouped, mined
from mmsearch.train.rerank_words import MaskedWords
from mmsearch.train.saving import read_state, write_state

Ticks = Callable[[int, int, float], None]


@dataclass
class At:
    """Where a run stands. best: weights of the best evaluation, text->image R@k in per cent."""

    step: int = 0
    best_step: int = 0
    best_score: float = -1.0
    waited: int = 0
    stopped: str = ""
    best: dict[str, Tensor] = field(default_factory=dict)


class RerankTrainer:
    """One run. Nothing is random but by the number of its step, so it goes on where it was.

    Args:
        net: on the CPU or a GPU.
        data: to train on.
        words: masks words; None without that term.
        config: all choices.
        folder: for the log and the resume file.
        evaluate: returns R@k of the net as it is.
        identity: what must be equal for a resume file to be taken up.
        progress: called after each step with (step, steps, loss).
    """

    def __init__(
        self,
        net: Fusion,
        data: RerankSet,
        words: MaskedWords | None,
        config: RerankConfig,
        *,
        folder: Path,
        evaluate: Callable[[], float],
        identity: str,
        progress: Ticks | None = None,
    ) -> None:
        self.net, self.data, self.words, self.config = net, data, words, config
        self._folder, self._evaluate, self._identity = folder, evaluate, identity
        self._progress = progress
        self.live = {n: p for n, p in net.named_parameters() if p.requires_grad}
        if words is not None:
            self.live |= {f"words.{n}": p for n, p in words.head.named_parameters()}
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p], "rate": config.lr,
                 "weight_decay": config.weight_decay if p.ndim > 1 else 0.0}
                for n, p in self.live.items()
            ],
            betas=(0.9, 0.98),
        )  # fmt: skip
        self.ema = Ema(dict(net.named_parameters()), config.ema)
        self.at = At()
        self._near = mined(data, config.hard_from) if config.hard_negatives else None
        counts = [len(row.captions) for row in data.pairs.rows]
        self._starts = np.cumsum([0, *counts])
        self.per_epoch = max(1, len(data.opened) // config.batch_size)
        self.steps = self.per_epoch * config.epochs

    @property
    def begun(self) -> bool:
        """Whether there is a save of this very run to go on from."""
        state = read_state(self._folder / RESUME)
        return state is not None and state["identity"] == self._identity

    def start(self) -> None:
        """Take the net as it is now for the beginning: measured, and the best so far."""
        self.ema = Ema(dict(self.net.named_parameters()), self.config.ema)
        self._measure(Log(self._folder, from_step=0))
        self._save()

    def run(self) -> At:
        """Train to the end or until nothing rises; the net then has its best weights."""
        self._resume()
        log = Log(self._folder, from_step=self.at.step)
        while self.at.step < self.steps and not self.at.stopped:
            epoch, first = divmod(self.at.step, self.per_epoch)
            batches = self._batches(epoch)
            for number in range(first, self.per_epoch):
                started = time.perf_counter()
                line = self._step(batches[number % len(batches)])
                line["pictures_per_s"] = round(
                    self.config.batch_size / (time.perf_counter() - started), 1
                )
                log.add(line)
                if self._progress:
                    self._progress(self.at.step, self.steps, line["loss"])
                if self.config.save_every and self.at.step % self.config.save_every == 0:
                    self._save()
            if (epoch + 1) % self.config.eval_every == 0 or self.at.step >= self.steps:
                self._measure(log)
            self._save()
        with torch.no_grad():
            best = dict(self.net.named_parameters())
            for name, value in self.at.best.items():
                best[name].copy_(value)
        return self.at

    def _batches(self, epoch: int) -> list[list[Ids]]:
        """Return the groups of each step of an epoch."""
        config = self.config
        rng = np.random.default_rng([config.seed, epoch])
        size = min(config.group_size, len(self.data.opened))
        groups = grouped(self.data.opened, size, rng, self._near, self._starts)
        n = config.batch_size // config.group_size
        return [groups[i : i + n] for i in range(0, max(1, len(groups) - n + 1), n)]

    def _step(self, groups: list[Ids]) -> dict[str, Any]:
        config, step = self.config, self.at.step
        torch.manual_seed(mixed(config.seed, step))
        rng = np.random.default_rng([config.seed, step, 1])
        share = rate_at(step, self.steps, config.warmup)
        set_rates(self.optimizer, share)
        self.net.train()
        parts = self._losses(groups, rng)
        loss = sum(parts.values(), torch.zeros(()))
        self.optimizer.zero_grad()
        loss.backward()
        if config.clip_grad:
            torch.nn.utils.clip_grad_norm_(list(self.live.values()), config.clip_grad)
        self.optimizer.step()
        self.ema.update()
        self.at.step += 1
        found = {name: round(float(part.detach()), 5) for name, part in parts.items()}
        return {
            "step": self.at.step,
            "loss": round(float(loss.detach()), 5),
            "lr": config.lr * share,
            **found,
        }

    def _losses(self, groups: list[Ids], rng: np.random.Generator) -> dict[str, Tensor]:
        """Return the terms, weighted: matching, contrastive, masked words."""
        config, rows = self.config, np.concatenate(groups)
        captions = rng.integers(self._starts[rows], self._starts[rows + 1])
        pictures = self.net.pictures(self.data.draw(rows, rng))
        texts = self.net.texts(*self.data.words.batch(captions))
        alike = torch.from_numpy(self.data.pairs.groups[rows])
        same = alike[:, None] == alike[None, :]
        matching, start = torch.zeros(()), 0
        for group in groups:
            part = slice(start, start + len(group))
            scores, _ = self.net.fused(texts.rows(part), pictures.rows(part))
            matching = matching + told_apart(scores, same[part, part]) / len(groups)
            start += len(group)
        found = {"itm": matching}
        if config.itc_weight and config.fusion != "concat":
            contrast = told_apart(self.net.interaction(texts, pictures), same)
            found["itc"] = config.itc_weight * contrast
        if self.words is not None:
            n = min(config.mlm_texts, len(rows))
            first = torch.arange(n)
            masked = self.words.loss(self.net, captions[:n], pictures.rows(first))
            found["mlm"] = config.mlm_weight * masked
        return found

    def _measure(self, log: Log) -> None:
        at = self.at
        with self.ema.applied():
            score = self._evaluate()
            log.add({"step": at.step, "heldout": score, "general": None})
            if score > at.best_score:
                at.best_score, at.best_step, at.waited = score, at.step, 0
                net = dict(self.net.named_parameters())
                at.best = {n: p.detach().clone() for n, p in net.items()}
            else:
                at.waited += 1
        if self.config.patience and at.waited >= self.config.patience:
            at.stopped = f"held-out R@k has not risen for {at.waited} evaluations"

    def _save(self) -> None:
        at = self.at
        numbers = {
            name: getattr(at, name)
            for name in ("step", "best_step", "best_score", "waited", "stopped")
        }
        state = {
            "identity": self._identity,
            "live": {n: p.detach() for n, p in self.live.items()},
            "frozen": {n: p.detach() for n, p in self._frozen()},
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.mean,
            "ema_updates": self.ema.updates,
            "best": at.best,
            "numbers": numbers,
        }
        write_state(self._folder / RESUME, state)

    def _frozen(self) -> list[tuple[str, Tensor]]:
        return [(n, p) for n, p in self.net.named_parameters() if not p.requires_grad]

    def _resume(self) -> None:
        state = read_state(self._folder / RESUME)
        if state is None or state["identity"] != self._identity:
            return
        with torch.no_grad():
            every = self.live | dict(self._frozen())
            for name, value in {**state["live"], **state["frozen"]}.items():
                every[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load(state["ema"], state["ema_updates"])
        self.at = At(**state["numbers"], best=state["best"])


def told_apart(scores: Tensor, same: Tensor) -> Tensor:
    """Return the loss of n pairs among all n x n: row i belongs to column i.

    Listwise, both ways (ALBEF, arXiv:2107.07651 eq. 1, over candidates rather than pairs):
    search asks for an order among hard candidates, which a yes or no a pair does not teach.

    Args:
        scores: (n, n).
        same: (n, n), True where both are the same thing: no negatives of one another.
    """
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    scores = scores.masked_fill(same & ~own, float("-inf"))
    target = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target) / 2


__all__ = ["At", "RerankTrainer", "told_apart"]
