"""The training loop: batches to gradients to steps, measured, saved, taken up again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmsearch.errors import BadSource
from mmsearch.train import gradcache
from mmsearch.train.augment import Augment
from mmsearch.train.config import TrainConfig
from mmsearch.train.curve import Log
from mmsearch.train.ema import Ema
from mmsearch.train.layers import train_mode
from mmsearch.train.loading import Batch, Loader, cut_epoch, epoch_order
from mmsearch.train.losses import PairLoss, same_pairs
from mmsearch.train.measure import encode_all, features
from mmsearch.train.mining import grouped_order
from mmsearch.train.mlm import WordHead, mlm_loss
from mmsearch.train.optimizer import adamw, groups, rate_at, set_rates
from mmsearch.train.pairs import Ids, Pairs
from mmsearch.train.saving import read_state, write_state
from mmsearch.train.trainable import Trainable
from mmsearch.train.views import Views
from mmsearch.train.world import World

RESUME = "resume.pt"
Scores = tuple[float, float | None]  # text->image R@k on the held-out and on the general set


@dataclass
class Progress:
    """Where a run stands. step: steps done. best: weights of the best evaluation so far.

    broken: pictures that would not open, and why.
    """

    step: int = 0
    best_step: int = 0
    best_score: float = -math.inf
    waited: int = 0
    first_general: float | None = None
    stopped: str = ""
    order: Ids | None = None
    order_epoch: int = -1
    best: dict[str, Tensor] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


class Trainer:
    """One run of training over one model. Frozen parts and LoRA are settled before.

    Args:
        model: on its device.
        pairs: to train on.
        config: all choices.
        folder: for the log and the resume file; None writes nothing.
        views: of these pictures, where the model's picture tower is cut.
        evaluate: measures the model as it is; called by rank 0 alone.
        world: the processes; `config.batch_size` is that of all of them together.
        identity: what must be equal for a resume file to be taken up.
        progress: called after each step with (step, steps, loss).
    """

    def __init__(
        self,
        model: Trainable,
        pairs: Pairs,
        config: TrainConfig,
        *,
        folder: Path | None = None,
        views: Views | None = None,
        evaluate: Callable[[], Scores] | None = None,
        world: World | None = None,
        identity: str = "",
        progress: Callable[[int, int, float], None] | None = None,
    ) -> None:
        self.model, self.pairs, self.config = model, pairs, config
        self.world = world or World()
        self._folder, self._evaluate, self._identity = folder, evaluate, identity
        self._progress = progress
        self.device = next(model.module.parameters()).device
        torch.manual_seed(config.seed)
        self.loss = _pair_loss(model, config).to(self.device)
        self.words = _word_head(model, config)
        extra = nn.ModuleDict({"loss": self.loss})
        if self.words is not None:
            extra["words"] = self.words
        self._extra = extra
        self.live = {
            n: p
            for n, p in [*model.module.named_parameters(), *extra.named_parameters(prefix="_extra")]
            if p.requires_grad
        }
        self.optimizer = adamw(groups(model.module, config, extra))
        self.ema = Ema(self.live, config.ema)
        self.size = min(config.batch_size, len(pairs)) // self.world.size * self.world.size
        self._sources = pairs.sources if config.one_source else None
        self.per_epoch = len(pairs) // self.size
        self.steps = config.epochs * self.per_epoch
        self.at = Progress()
        augment = Augment(config.crop_scale, config.flip, config.jitter) if config.augment else None
        self._views = views
        self._loader = Loader(
            pairs, model.dual, augment, config.seed, config.workers, config.captions, views,
            self.at.broken,
        )  # fmt: skip
        self._bf16 = uses_bfloat16(config.precision, self.device)

    def run(self) -> Progress:
        """Train to the end or to an early stop, and leave the best weights in the model."""
        self._resume()
        log = None
        if self._folder is not None and self.world.leads:
            log = Log(self._folder, from_step=self.at.step)
        try:
            while self.at.step < self.steps and not self.at.stopped:
                self._epoch(self.at.step // self.per_epoch, log)
        finally:
            if log is not None:
                log.close()
        with torch.no_grad():
            for name, value in (self.at.best or {}).items():
                self.live[name].copy_(value)
        self.model.module.eval()
        self.model.set_scale(self.loss.scale().item(), self.loss.bias.item())
        return self.at

    def _epoch(self, epoch: int, log: Log | None) -> None:
        order = self._order(epoch)
        batches = cut_epoch(order, self.size, self._sources)
        done = self.at.step - epoch * self.per_epoch
        share = self.size // self.world.size
        first = self.world.rank * share
        mine = [rows[first : first + share] for rows in batches[done:]]
        train_mode(self.model.module)
        self._extra.train()
        for batch in self._loader.batches(epoch, mine):
            started = time.perf_counter()
            loss = self.step(batch)
            if not math.isfinite(loss):
                self.at.stopped = f"the loss became {loss} at step {self.at.step}"
                return
            if log is not None:
                log.add(self._line(loss, time.perf_counter() - started))
            if self._progress is not None:
                self._progress(self.at.step, self.steps, loss)
            ends = self.at.step % self.per_epoch == 0
            if ends and ((epoch + 1) % self.config.eval_every == 0 or self.at.step == self.steps):
                self._measure(log)
            every = self.config.save_every
            if ends or (every and self.at.step % every == 0):
                self._save()
            if self.at.stopped:
                return

    def step(self, batch: Batch) -> float:
        """Take one step on this process's share of a batch; return the loss of all of it."""
        torch.manual_seed(mixed(self.config.seed, self.at.step, self.world.rank))  # dropout
        set_rates(self.optimizer, rate_at(self.at.step, self.steps, self.config.warmup))
        self.optimizer.zero_grad()
        captions, group_ids = (
            self.world.gather(ids.to(self.device)) for ids in (batch.caption_ids, batch.groups)
        )
        same = same_pairs(captions, group_ids)
        parts = batch.cut(self.config.chunk)
        loss = gradcache.backward(
            parts, self._encode, lambda images, texts: self.loss(images, texts, same), self.world
        )
        loss += self._language(parts, len(batch))
        self.world.average_gradients(self.live.values())
        if not math.isfinite(loss):
            return loss
        if self.config.clip_grad:
            nn.utils.clip_grad_norm_(list(self.live.values()), self.config.clip_grad)
        self.optimizer.step()
        self.loss.clamp_()
        self.ema.update()
        self.at.step += 1
        return loss

    def _encode(self, part: Batch) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
            images = self.model.encode_images(part.pixels.to(self.device))
            texts = self.model.encode_texts(part.texts)
        return images, texts.unflatten(0, (len(part), -1))

    def _language(self, parts: list[Batch], n: int) -> float:
        if self.words is None or self.model.language is None:
            return 0.0
        seed = mixed(self.config.seed, self.at.step, self.world.rank)
        generator = torch.Generator().manual_seed(seed)
        total = 0.0
        for part in parts:
            tokens = self.model.tokens(part.texts)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16):
                loss = mlm_loss(tokens, self.model.language, self.words, generator)
            loss = loss * (self.config.mlm_weight * len(part) / n)
            loss.backward()
            total += float(loss.detach())
        return total

    def _order(self, epoch: int) -> Ids:
        every = self.config.hard_negatives
        if self.at.order_epoch == epoch and self.at.order is not None:
            return self.at.order
        seed = mixed(self.config.seed, epoch)
        order = epoch_order(len(self.pairs), seed=self.config.seed, epoch=epoch)
        if every and epoch and epoch % every == 0:
            # Every process mines alike: it has the same weights.
            images, _ = features(
                self.model, self.pairs, workers=self.config.workers, views=self._views
            )
            with torch.no_grad():
                self.model.module.eval()
                texts = encode_all(self.model, [row.captions[0] for row in self.pairs.rows])
            order = grouped_order(images, texts, seed=seed)
        self.at.order, self.at.order_epoch = order, epoch
        return order

    def _measure(self, log: Log | None) -> None:
        if self._evaluate is None:
            return
        heldout, general = 0.0, None
        if self.world.leads:
            with self.ema.applied():
                heldout, general = self._evaluate()
            if log is not None:
                log.add({"step": self.at.step, "heldout": heldout, "general": general})
        heldout = self.world.told(heldout)
        told = self.world.told(math.nan if general is None else general)
        general = None if math.isnan(told) else told
        self.judge(heldout, general)

    def judge(self, heldout: float, general: float | None) -> None:
        """Take an evaluation into account: keep the weights if best, stop if enough."""
        at, config = self.at, self.config
        if heldout > at.best_score:
            at.best_score, at.best_step, at.waited = heldout, at.step, 0
            with self.ema.applied():
                at.best = {n: p.detach().clone() for n, p in self.live.items()}
        else:
            at.waited += 1
        if at.first_general is None:
            at.first_general = general
        if config.patience and at.waited >= config.patience:
            at.stopped = f"held-out R@k has not risen for {at.waited} evaluations"
        elif general is not None and at.first_general is not None:
            lost = at.first_general - general
            if lost > config.general_stop:
                at.stopped = f"the general set has lost {lost:.1f} points"

    def _line(self, loss: float, seconds: float) -> dict[str, Any]:
        return {
            "step": self.at.step,
            "loss": round(loss, 6),
            "scale": round(self.loss.scale().item(), 4),
            "lr": max(float(g["lr"]) for g in self.optimizer.param_groups),
            "pairs_per_s": round(self.size / max(seconds, 1e-9), 1),
        }

    def _save(self) -> None:
        if self._folder is None or not self.world.leads:
            return
        at = self.at
        write_state(
            self._folder / RESUME,
            {
                "identity": self._identity,
                "live": {n: p.detach() for n, p in self.live.items()},
                "optimizer": self.optimizer.state_dict(),
                "ema": self.ema.mean,
                "ema_updates": self.ema.updates,
                "best": at.best,
                "broken": at.broken,
                "order": None if at.order is None else torch.from_numpy(at.order),
                "numbers": {
                    "step": at.step,
                    "best_step": at.best_step,
                    "best_score": at.best_score,
                    "waited": at.waited,
                    "first_general": at.first_general,
                    "stopped": at.stopped,
                    "order_epoch": at.order_epoch,
                },
            },
        )

    def _resume(self) -> None:
        state = read_state(self._folder / RESUME) if self._folder is not None else None
        if state is None or state["identity"] != self._identity:
            return
        with torch.no_grad():
            for name, value in state["live"].items():
                self.live[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load(state["ema"], state["ema_updates"])
        order = None if state["order"] is None else state["order"].numpy()
        self.at.broken.update(state.get("broken", {}))  # the dict that the loader writes to
        self.at = Progress(
            **state["numbers"], order=order, best=state["best"], broken=self.at.broken
        )


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Return whether to compute in bfloat16: where asked, else on a GPU that has it.

    The CPU is left out of "auto": autocast there was measured several times slower than none.
    """
    if precision == "auto":
        return device.type == "cuda" and bool(torch.cuda.is_bf16_supported())
    return precision == "bfloat16"


def _pair_loss(model: Trainable, config: TrainConfig) -> PairLoss:
    scale, bias = model.scale(config.loss)
    if config.temperature is not None:
        scale = min(1 / config.temperature, 100.0)
    return PairLoss(
        config.loss,
        scale=scale,
        bias=bias,
        smoothing=config.label_smoothing,
        margin=config.margin,
    )


def _word_head(model: Trainable, config: TrainConfig) -> WordHead | None:
    if not config.mlm_weight:
        return None
    if model.language is None:
        raise BadSource(
            f"mlm_weight: the text tower of {model.spec} has no masks; that takes a BERT-like one"
        )
    head: WordHead = WordHead(model.language).to(model.language.words.device)
    return head


def mixed(*numbers: int) -> int:
    """Return one seed from several numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % (2**63 - 1)
    return seed
