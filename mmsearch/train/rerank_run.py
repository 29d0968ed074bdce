"""`mmsearch train --stage rerank` as a whole: tokens, training, the guard, what is written."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmsearch.cores import usable_cores
from mmsearch.encoders import load_encoder
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.tapped import InnerEncoder
from mmsearch.errors import BadSource, ModelUnavailable
from mmsearch.files import replace_folder, write_json, write_whole
from mmsearch.rerankers.fusion import ROOT_MAP, WORD_STATES
from mmsearch.train.augment import Augment
from mmsearch.train.curve import draw, read_log
from mmsearch.train.fusion_model import Fusion, Given, Shape, moments
from mmsearch.train.guard import Difference, difference, fits_k, judge
from mmsearch.train.loop import RESUME
from mmsearch.train.measure import Ranks
from mmsearch.train.pairs import Pairs
from mmsearch.train.rerank_align import align, mean_words, set_aligning
from mmsearch.train.rerank_config import RerankConfig
from mmsearch.train.rerank_data import RerankSet, base_vectors, word_states
from mmsearch.train.rerank_export import write_reranker
from mmsearch.train.rerank_loop import At, RerankTrainer
from mmsearch.train.rerank_measure import Mix, base_ranks, best_mix, rerank, reranked, told
from mmsearch.train.rerank_tokens import LAST, LEVELS, WIDTH, PictureMaps, checked_tower
from mmsearch.train.rerank_words import MaskedWords
from mmsearch.train.saving import claim_folder
from mmsearch.train.starter_model import load_starter
from mmsearch.train.views import Lower

RUN, REPORT, TOKENS = "run.json", "report.json", "tokens"
SAMPLE = 400  # pictures that the mean and deviation of the tokens are taken from
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RerankJob:
    """What to train a re-ranker on, and where to.

    tokens: a folder for what is worked out once, to be kept and used again; None: one in `out`,
    gone when the run has ended.
    """

    base: str
    out: Path
    train: Pairs
    heldout: Pairs
    source: str
    config: RerankConfig
    force: bool = False
    restart: bool = False
    threads: int | None = None
    tokens: Path | None = None


def train_reranker(
    job: RerankJob,
    *,
    say: Say = lambda _: None,
    progress: Callable[[int, int, float], None] | None = None,
) -> dict[str, Any]:
    """Train a `fusion` re-ranker, judge it, write it; return the report.

    A run that was cut off goes on from its last save; one that is finished returns its report.

    Raises:
        BadSource: the folder holds a run of other settings, or the pairs cannot be used.
        ModelUnavailable: the base is not there, or is no starter.
        OSError: the folder cannot be written.
    """
    started = time.perf_counter()
    torch.set_num_threads(job.threads or usable_cores())
    inner = open_base(job.base, threads=job.threads)
    identity = json.dumps(
        [
            inner.encoder.space.name,
            job.train.fingerprint(),
            job.heldout.fingerprint(),
            {k: v for k, v in job.config.as_dict().items() if k not in ("workers", "save_every")},
        ],
        sort_keys=True,
    )
    claim_folder(
        job.out / RUN,
        {"identity": identity, "config": job.config.as_dict(), "base": job.base},
        what="training run",
        changed=lambda found: job.config.differences(found["config"]),
        forget=(RESUME, REPORT, RUN) if job.restart else (),
    )
    if (job.out / REPORT).exists():
        say(f"{job.out} holds this very run, finished")
        finished: dict[str, Any] = json.loads((job.out / REPORT).read_text(encoding="utf-8"))
        return finished
    train, heldout, given = read_tokens(job, inner, say)
    net = new_net(job.config, given)
    before = base_ranks(heldout)
    k = fits_k(len(heldout.pairs), job.config.k)
    say(f"without re-ranking: {told(before)}")
    at = _fit(job, net, (train, heldout), inner, before, k, identity, say, progress)
    found = rerank(net, heldout, np.arange(len(heldout.texts)), job.config.candidates)
    mix, _ = best_mix(found, heldout, before, k)
    net.share.fill_(mix.share)
    after = reranked(found, heldout, before, mix)
    report = _report(job, identity, (before, after), mix, k, at)
    report["seconds"] = round(time.perf_counter() - started, 1)
    _write(job, net, inner, report)
    return report


def open_base(spec: str, *, threads: int | None) -> InnerEncoder:
    """Return a starter with its inner tensors.

    Raises:
        ModelUnavailable: it is not there, or is no ONNX bundle.
    """
    encoder = load_encoder(spec, threads=threads)
    if not isinstance(encoder, OnnxEncoder):
        raise ModelUnavailable(
            f"{spec} is no starter: a fusion re-ranker is trained on the tokens of `starter`, or "
            "of what `mmsearch train --base starter` made of it"
        )
    return InnerEncoder(encoder, [ROOT_MAP], WORD_STATES, threads=threads)


def read_tokens(
    job: RerankJob, inner: InnerEncoder, say: Say
) -> tuple[RerankSet, RerankSet, Given]:
    """Return both sets with their tokens, and what is known of the tokens before training.

    Raises:
        ModelUnavailable: the base is no starter.
        BadSource: no picture opens.
        OSError: the folder cannot be written.
    """
    config, bundle = job.config, inner.encoder.bundle
    folder = job.tokens or job.out / TOKENS
    dual, _ = load_starter(bundle.folder)
    tower = checked_tower(dual, bundle)
    lower = Lower(PictureMaps(tower), dual, "tf_efficientnet_lite2 imagenet", torch.bfloat16)
    augment = Augment(config.crop_scale, config.flip, config.jitter)
    key = inner.encoder.space.name

    def made(pairs: Pairs, views: int) -> RerankSet:
        words = word_states(inner, pairs, folder, key=key, say=say)
        images, texts = base_vectors(inner, pairs, folder, key=key, workers=config.workers, say=say)
        maps = [
            lower.views(
                pairs, folder, augment=how, count=count, seed=config.seed,
                workers=config.workers, say=say,
            )
            for how, count in ((None, 1), (augment, views))
            if count
        ]  # fmt: skip
        return RerankSet(pairs, words, tuple(maps), images, texts)

    train, heldout = made(job.train, config.cache_views), made(job.heldout, 0)
    rows = np.random.default_rng(config.seed).permutation(train.opened)[:SAMPLE]
    top = tower.top[0]
    assert isinstance(top, torch.nn.Conv2d)
    assert top.bias is not None
    maps = train.plain(np.sort(rows))
    with torch.no_grad():
        last = top(maps[:, WIDTH - LAST :]).clamp(0, 6)
    whole = torch.cat([maps, last], 1)
    levels = [moments(part) for part in maps.split(LEVELS, 1)]
    pooled = torch.cat([last.mean((2, 3)), *levels], 1)
    texts = mean_words(train)
    given = Given(
        top.weight.detach(),
        top.bias.detach(),
        whole.mean((0, 2, 3)),
        whole.std((0, 2, 3)),
        maps.shape[-1],
        (pooled.mean(0), pooled.std(0)),
        (texts.mean(0), texts.std(0)),
    )
    return train, heldout, given


def new_net(config: RerankConfig, given: Given) -> Fusion:
    """Return an untrained re-ranker, the same for the same seed."""
    torch.manual_seed(config.seed)
    shape = Shape(
        config.fusion, config.width, layers=config.layers, dropout=config.dropout,
        given_dropout=min(0.9, 2 * config.dropout),
    )  # fmt: skip
    return Fusion(shape, given)


def _fit(
    job: RerankJob,
    net: Fusion,
    sets: tuple[RerankSet, RerankSet],
    inner: InnerEncoder,
    before: Ranks,
    k: int,
    identity: str,
    say: Say,
    progress: Callable[[int, int, float], None] | None,
) -> At:
    train, heldout = sets
    config = job.config
    # One caption of each picture while it trains: the rest would cost as much as an epoch.
    counts = [len(row.captions) for row in heldout.pairs.rows]
    rows = np.cumsum([0, *counts[:-1]])

    def evaluate() -> float:
        found = rerank(net, heldout, rows, config.candidates)
        mix, score = best_mix(found, heldout, before, k)
        base = float((before.text_to_image[rows] <= k).mean() * 100)
        say(
            f"first captions: text->image R@{k} {base:.1f} -> {score:.1f}, weight {mix.weight:g}, "
            f"share {mix.share:g}"
        )
        return score

    set_aligning(net, False)  # the small batches of the fusion would only undo it
    words = MaskedWords(inner, train.words, config.width) if config.mlm_weight else None
    trainer = RerankTrainer(
        net, train, words, config,
        folder=job.out, evaluate=evaluate, identity=identity, progress=progress,
    )  # fmt: skip
    if not trainer.begun:
        say(f"heads aligned over {config.align_epochs} epochs")
        align(net, train, epochs=config.align_epochs, seed=config.seed)
        trainer.start()
    return trainer.run()


def _report(
    job: RerankJob, identity: str, ranks: tuple[Ranks, Ranks], mix: Mix, k: int, at: At
) -> dict[str, Any]:
    change = difference(*ranks, k, seed=job.config.seed)
    verdict = judge(change, None, k=k, tolerance=0)
    stopped = at.stopped or "all epochs done"
    return {
        "schema": 1,
        "stage": "rerank",
        "identity": identity,
        **verdict.facts(force=job.force),
        "base": job.base,
        "pairs": job.source,
        "k": k,
        "weight": mix.weight,
        "share": mix.share,
        "candidates": job.config.candidates,
        "pictures": len(job.heldout),
        "captions": len(ranks[0].text_to_image),
        "without": told(ranks[0]),
        "reranked": told(ranks[1]),
        "change": asdict(change),
        "changes": {f"R@{n}": asdict(difference(*ranks, n, seed=job.config.seed))
                    for n in (1, 5, 10)},
        "summary": f"{len(job.train)} pictures, {at.step} steps, best at {at.best_step}; "
        f"{stopped}; weight {mix.weight:g}, share {mix.share:g}",
        "config": job.config.as_dict(),
    }  # fmt: skip


def markdown(report: dict[str, Any]) -> str:
    """Return a report as Markdown."""
    done = "promoted" if report["promoted"] else "refused"
    lines = [f"# {report['config']['fusion']} re-ranker of {report['base']}: {done}", ""]
    lines += [f"- {reason}" for reason in report["reasons"]]
    lines += [
        f"- {report['summary']}",
        "",
        f"## Held-out set: {report['pictures']} pictures, {report['captions']} captions, the best "
        f"{report['candidates']} re-ranked",
        "",
        "| text -> image | R@1 | R@5 | R@10 | median rank |",
        "|---|---|---|---|---|",
    ]
    for name in ("without", "reranked"):
        row = report[name]
        cells = " | ".join(f"{row[c]:g}" for c in ("R@1", "R@5", "R@10", "median_rank"))
        lines.append(f"| {name} | {cells} |")
    changes = (str(Difference(**report["changes"][f"R@{n}"])) for n in (1, 5, 10))
    lines.append(f"| change (95 % interval, paired bootstrap) | {' | '.join(changes)} | |")
    return "\n".join(lines) + "\n"


def _write(job: RerankJob, net: Fusion, inner: InnerEncoder, report: dict[str, Any]) -> None:
    kept, out = report["promoted"] or report["forced"], job.out
    for name in ("model", "rejected"):
        shutil.rmtree(out / name, ignore_errors=True)
    tower = checked_tower(*load_starter(inner.encoder.bundle.folder))
    facts = {
        "base": inner.encoder.space.name,
        "weight": report["weight"],
        "candidates": report["candidates"],
        "license": inner.encoder.bundle.license,
    }
    replace_folder(
        out / ("model" if kept else "rejected"),
        lambda folder: write_reranker(folder, net, tower, inner.encoder.image_size, facts),
    )
    text = markdown(report)
    write_whole(out / "report.md", lambda file: file.write(text.encode()))
    draw(read_log(out), out / "curve.png", k=report["k"])
    write_json(out / REPORT, report)
    (out / RESUME).unlink(missing_ok=True)
    shutil.rmtree(out / TOKENS, ignore_errors=True)


__all__ = ["BadSource", "RerankJob", "markdown", "open_base", "train_reranker"]
