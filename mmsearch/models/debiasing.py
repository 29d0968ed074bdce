"""Hubness taken off a model, as much as held-out pairs say is good; see `train.querybank`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from onnx import compose
from PIL.Image import Image

from index_store.types import Space, Vectors
from mmsearch.cores import usable_cores
from mmsearch.encoders.bundle import read_json
from mmsearch.encoders.onnx_graph import name_domains_once, save_graph
from mmsearch.encoders.onnx_writer import write_config, write_tower
from mmsearch.encoders.weights import hash_tensors
from mmsearch.errors import BadPicture, BadSource, ExportFailed
from mmsearch.images import open_picture
from mmsearch.pipeline import batched, map_ahead
from mmsearch.sources import source_at
from mmsearch.train.measure import Ranks, ranks_of
from mmsearch.train.pairs import Pair, Pairs, make_pairs, train_and_heldout
from mmsearch.train.querybank import AT_ONCE, EXTRA, AskingHead, BankedHead, Given, debias
from mmsearch.types import Array, Encoder

SHARPNESSES = (10.0, 25.0, 50.0, 100.0)
WEIGHTS = (0.25, 0.5, 0.75, 1.0)
MOST = 10_000  # captions in the bank, and pictures to choose by
SHARE = 0.2  # of pairs that have no split of their own, to choose by
BATCH = 16
PREFIX = "debias/"  # of what is put behind a graph
OLDEST = 13  # opset that torch's exporter still writes well

Heads = tuple[BankedHead, AskingHead]
Rows = tuple[Vectors, Vectors]  # of pictures, of texts
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Debiased:
    """What was chosen, and what it does to the held-out pairs: ranks before and after."""

    sharpness: float
    weight: float
    bank: int
    before: Ranks
    after: Ranks

    def as_dict(self) -> dict[str, object]:
        """Return it as plain JSON values."""
        return {
            "sharpness": self.sharpness,
            "weight": self.weight,
            "bank": self.bank,
            "heldout": {"before": self.before.figures(), "after": self.after.figures()},
        }


class FairEncoder:
    """An encoder with its hubness taken off, to compare a written copy with."""

    def __init__(self, inner: Encoder, heads: Heads) -> None:
        self.inner, self.heads = inner, heads
        self.image_size = inner.image_size
        family = inner.space.name.partition("/")[0]
        state = {f"{n}.{k}": v for n, h in enumerate(heads) for k, v in h.state_dict().items()}
        self.space = Space(f"{family}/{hash_tensors(state)}", inner.space.dim + EXTRA)

    def prepare(self, image: Image) -> Array:
        """Return what the inner encoder prepares."""
        return self.inner.prepare(image)

    def encode_images(self, batch: Array) -> Vectors:
        """Return (n, dim + 2) unit rows."""
        return _passed(self.heads[0], self.inner.encode_images(batch))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim + 2) unit rows."""
        return _passed(self.heads[1], self.inner.encode_texts(texts))


def debiased(
    encoder: Encoder, sources: Sequence[str], *, seed: int = 0, say: Say = lambda _: None
) -> tuple[FairEncoder, Debiased]:
    """Return the encoder with its hubness taken off, two dimensions wider.

    The bank is one caption of each training picture. Sharpness and weight are those with the best
    mean reciprocal rank of pictures on the held-out pairs.

    Args:
        encoder: of both.
        sources: pairs, as for `mmsearch train`.
        seed: of what is held out where there are no splits, and of the captions.
        say: gets a line now and then.

    Raises:
        BadSource: a source cannot be read, or has too few pictures.
        ExportFailed: nothing is better than to leave the model as it is.
    """
    train, heldout = (
        pairs.limited(MOST, seed=seed)
        for pairs in train_and_heldout(sources, share=SHARE, seed=seed)
    )
    rng = np.random.default_rng(seed)
    say(f"hubness: encoding a caption of {len(train)} pictures each")
    bank = encoder.encode_texts([str(rng.choice(row.captions)) for row in train.rows])
    say(f"hubness: encoding {len(heldout)} held-out pictures with their captions")
    heldout, rows = _encoded(encoder, heldout)
    best = _chosen(rows, heldout, bank)
    given = Given(encoder.space.dim)
    images, texts = torch.from_numpy(rows[0]), torch.from_numpy(bank)
    heads = debias((given, given), images, texts, sharpness=best.sharpness, weight=best.weight)
    return FairEncoder(encoder, heads), best


def append(folder: Path, heads: Heads) -> None:
    """Put the heads behind the two towers of an ONNX bundle.

    Raises:
        ExportFailed: a graph is of an opset that is too old.
        OSError: the folder cannot be written.
    """
    for tower, head in zip(("visual", "textual"), heads, strict=True):
        path = folder / tower / "model.onnx"
        graph = onnx.load(str(path))
        opset = next(o.version for o in graph.opset_import if o.domain in ("", "ai.onnx"))
        if opset < OLDEST:
            raise ExportFailed(f"the {tower} tower is of opset {opset}; {OLDEST} is the oldest")
        with TemporaryDirectory() as scratch:
            place = Path(scratch) / "head.onnx"
            rows = torch.zeros(2, head.width)
            write_tower(place, head, head, (rows,), {"rows": {0: "n"}}, opset=opset)
            behind = onnx.load(str(place))
        behind.ir_version = graph.ir_version
        merged = compose.merge_models(
            graph, compose.add_prefix(behind, PREFIX), outputs=[f"{PREFIX}embedding"],
            io_map=[(graph.graph.output[0].name, f"{PREFIX}rows")],
        )  # fmt: skip
        name_domains_once(merged)
        for old in path.parent.glob("*.data"):
            old.unlink()
        save_graph(merged, path)
    config = read_json(folder / "config.json")
    name = "embed_dim" if "embed_dim" in config else "dim"
    write_config(folder, config | {name: config[name] + EXTRA})


def _encoded(encoder: Encoder, pairs: Pairs) -> tuple[Pairs, Rows]:
    """Return the pairs whose pictures open, and unit rows of these and of their texts."""

    def opened(row: Pair) -> tuple[Pair, Array] | None:
        try:
            picture = open_picture(source_at(row.path), target=encoder.image_size)
        except BadPicture:
            return None
        return row, encoder.prepare(picture.image)

    there: list[Pair] = []
    images = []
    ahead = map_ahead(opened, pairs.rows, threads=usable_cores(), ahead=3 * BATCH)
    for batch in batched((found for found in ahead if found), BATCH):
        there += [row for row, _ in batch]
        images.append(encoder.encode_images(np.stack([pixels for _, pixels in batch])))
    if not there:
        raise BadSource(f"no picture opens, the first is {pairs.rows[0].path}")
    left = make_pairs(there)
    return left, (np.concatenate(images), encoder.encode_texts(left.texts))


def _chosen(rows: Rows, pairs: Pairs, bank: Vectors) -> Debiased:
    before = ranks_of(*rows, pairs)
    texts = np.concatenate([rows[1], np.ones_like(rows[1][:, :1])], 1)
    head = BankedHead(Given(bank.shape[1]), torch.from_numpy(bank))
    found = []
    for sharpness in SHARPNESSES:
        head.sharpness.fill_(sharpness)
        parts = torch.from_numpy(rows[0]).split(AT_ONCE)
        hubness = torch.cat([head.hubness(part) for part in parts])
        off = (hubness - hubness.mean()).numpy()
        for weight in WEIGHTS:
            # Products of these rows, which are no unit rows, are cosines less hubness.
            images = np.concatenate([rows[0], -weight * off], 1)
            after = ranks_of(images, texts, pairs)
            found.append(Debiased(sharpness, weight, len(bank), before, after))
    best = max(found, key=lambda one: _quality(one.after))
    if not _quality(best.after) > _quality(before):
        raise ExportFailed(
            "no share of the hubness makes the held-out pictures easier to find: the model is "
            "best left as it is"
        )
    return best


def _passed(head: BankedHead | AskingHead, rows: Vectors) -> Vectors:
    with torch.no_grad():
        made: Vectors = head(torch.from_numpy(rows)).numpy()
    return made


def _quality(ranks: Ranks) -> float:
    return float((1 / ranks.text_to_image).mean())
