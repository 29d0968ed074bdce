"""Further heads for a starter, on stages that nothing but ImageNet has trained.

`python -m mmsearch.train.second_starter base BUNDLE OUT PAIRS...` writes a checkpoint whose
picture tower is ImageNet's and whose text tower is the bundle's, with new heads; `mmsearch train
--base checkpoint:OUT --freeze both` trains them. `... join BUNDLE TRAINED OUT --share S` puts both
side by side into one checkpoint: stages that were tuned on the training pictures know those too
well, the others know them only as pictures, and the mean of both cosines is better than either.
`... narrow BUNDLE OUT PAIRS... --dim N` brings the vectors of what was joined back to N dimensions.
`... debias BUNDLE OUT PAIRS...` takes hubness off, last of all (`querybank`), by a caption of each
training picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mmsearch.encoders.checkpoint import read_checkpoint
from mmsearch.encoders.torch_backend import DualModel
from mmsearch.errors import ModelUnavailable
from mmsearch.train.export_towers import write_starter
from mmsearch.train.heads import Head, TwinHead
from mmsearch.train.loading import pictures
from mmsearch.train.pairs import read_pairs
from mmsearch.train.querybank import AskingHead, BankedHead, debias
from mmsearch.train.starter_image import QUARTERS, ROOT, SMALLER, imagenet_tower
from mmsearch.train.starter_model import DROPOUT, StarterModel, add_tower, load_starter
from mmsearch.train.trainable import describe

PICTURES = 300  # of each set; features are standardised by them
SHARPNESS, WEIGHT = 25.0, 0.5  # chosen on the validation splits
TEXTS_AT_ONCE = 64


def new_heads(
    bundle: Path, sources: list[str], *, lite: int, hidden: int, dim: int, seed: int
) -> StarterModel:
    """Return a starter with ImageNet's picture tower and new heads, which know nothing yet.

    Args:
        bundle: whose text tower and preprocessing it shares.
        sources: pairs, as for `mmsearch train`.
        lite: which EfficientNet-Lite, 1 or 2.
        hidden: width of the heads' hidden layer.
        dim: of their output.
        seed: of their weights, and of the pictures that their input is standardised by.

    Raises:
        BadSource: a source cannot be read.
        ImportError: an extra of `train` is not installed.
    """
    dual, opened = load_starter(bundle)
    model = dual.module
    assert isinstance(model, StarterModel)
    tower = imagenet_tower(opened.image_size, SMALLER if lite == 1 else QUARTERS)
    both = _rows(dual, sources, seed, tower, model.words)
    torch.manual_seed(seed)
    heads = [
        Head(rows.mean(0), rows.std(0), hidden=hidden, dim=dim, dropout=DROPOUT) for rows in both
    ]
    return StarterModel(tower, model.text, (heads[0], heads[1]))


def join(first: StarterModel, second: StarterModel, *, share: float) -> StarterModel:
    """Return one starter of two with the same text tower.

    If their picture towers are of one size, all stages up to ROOT have to be the same.

    Args:
        first: a starter, of two itself or not; its tower is changed.
        second: with one head a tower.
        share: of the second's cosine in the cosine of both, from 0 to 1.

    Raises:
        ModelUnavailable: the second has two heads, or a tower differs where both share it.
    """
    image, text = second.image_head, second.text_head
    if not (isinstance(image, Head) and isinstance(text, Head)):
        raise ModelUnavailable("a starter of two cannot be the second of another")
    if isinstance(first.image_head, BankedHead) or isinstance(first.text_head, AskingHead):
        raise ModelUnavailable("hubness is taken off last: nothing can be joined to that")
    _same("text tower", first.text, second.text)
    if first.image.sight.lite == second.image.sight.lite:
        _same("first picture stages", *(m.image.stages(ROOT + 1) for m in (first, second)))
    add_tower(first.image, second.image)
    images = TwinHead(first.image_head, image, share=share, apart=True)
    texts = TwinHead(first.text_head, text, share=share, apart=False)
    return StarterModel(first.image, first.text, (images, texts))


def narrow(model: StarterModel, rows: Tensor, *, dim: int) -> float:
    """Let a starter of several give `dim` dimensions: the first principal ones, not centred.

    Heads that were trained for the same pairs say much of it twice.

    Args:
        model: with twin heads, not narrowed; it is changed.
        rows: (n, width) vectors of pictures and texts, as many of these as of those.
        dim: how many to keep.

    Returns:
        The share of the vectors' squared length that is kept.

    Raises:
        ModelUnavailable: there is one head a tower, or there are fewer dimensions than `dim`.
    """
    heads = model.image_head, model.text_head
    if not all(isinstance(head, TwinHead) and head.basis is None for head in heads):
        raise ModelUnavailable("only what was joined, and not narrowed since, can be narrowed")
    if not 0 < dim <= rows.shape[1]:
        raise ModelUnavailable(f"vectors of {rows.shape[1]} cannot be narrowed to {dim}")
    values, columns = torch.linalg.eigh((rows.T @ rows).double())
    basis = columns[:, -dim:].flip(1).float().contiguous()
    for head in heads:
        assert isinstance(head, TwinHead)
        head.narrow(basis)
    return float(values[-dim:].sum() / values.sum())


def take_off(
    model: StarterModel, images: Tensor, texts: Tensor,
    *, sharpness: float = SHARPNESS, weight: float = WEIGHT,
) -> None:  # fmt: skip
    """Let a starter give vectors without hubness, two dimensions wider; it is changed.

    Args:
        model: without that so far.
        images: (n, dim) rows of some pictures that it gives.
        texts: (m, dim) rows of the bank.
        sharpness: see `querybank`.
        weight: of a picture's hubness.

    Raises:
        ModelUnavailable: it was done before.
    """
    image, text = model.image_head, model.text_head
    if isinstance(image, BankedHead) or isinstance(text, AskingHead):
        raise ModelUnavailable("hubness was taken off this starter before")
    heads = debias((image, text), images, texts, sharpness=sharpness, weight=weight)
    model.image_head, model.text_head = heads


def _rows(
    dual: DualModel,
    sources: list[str],
    seed: int,
    images: Callable[[Tensor], Tensor],
    texts: Callable[[dict[str, Tensor]], Tensor],
    *,
    every: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return what two functions give for some training pictures of each source, and for a caption
    of each of them, or of every one."""
    seen, told = [], []
    with torch.no_grad():
        for source in sources:
            pairs = read_pairs(source, split="train")
            some = pairs.limited(PICTURES, seed=seed)
            seen += [images(pixels) for _, pixels in pictures(some, dual, size=32, workers=2)]
            captions = [row.captions[0] for row in (pairs if every else some).rows]
            parts = range(0, len(captions), TEXTS_AT_ONCE)
            told += [texts(dual.tokenize(captions[i : i + TEXTS_AT_ONCE])) for i in parts]
    return torch.cat(seen), torch.cat(told)


def _same(what: str, one: torch.nn.Module, other: torch.nn.Module) -> None:
    theirs = other.state_dict()
    for name, value in one.state_dict().items():
        # A bundle that ships holds float16, and its word table int8.
        if not torch.allclose(value, theirs[name], rtol=2e-3, atol=1e-4):
            raise ModelUnavailable(f"the {what} of the two starters differ, in {name}")


def main(argv: list[str] | None = None) -> None:
    """Write one checkpoint."""
    parser = argparse.ArgumentParser(prog="mmsearch.train.second_starter", description=__doc__)
    doing = parser.add_subparsers(dest="doing", required=True)
    base = doing.add_parser("base", help="new heads on ImageNet's stages")
    both = doing.add_parser("join", help="a starter and trained second heads as one")
    fewer = doing.add_parser("narrow", help="fewer dimensions for what was joined")
    fair = doing.add_parser("debias", help="take hubness off, by what it is like in training")
    for one in (base, both, fewer, fair):
        one.add_argument("bundle", type=Path, help="the first starter, or what was joined")
    for one in (base, fewer, fair):
        one.add_argument("out", type=Path)
        one.add_argument("pairs", nargs="+", help="pictures with captions, as for mmsearch train")
        one.add_argument("--seed", type=int, default=0)
    fewer.add_argument("--dim", type=int, default=192)
    fair.add_argument("--sharpness", type=float, default=SHARPNESS, help="T")
    fair.add_argument("--weight", type=float, default=WEIGHT, help="of a picture's hubness")
    base.add_argument("--lite", type=int, choices=(1, 2), default=2, help="EfficientNet-Lite")
    base.add_argument("--hidden", type=int, default=1024)
    base.add_argument("--dim", type=int, default=384)
    both.add_argument("trained", type=Path, help="what mmsearch train made of the base")
    both.add_argument("out", type=Path)
    both.add_argument("--share", type=float, required=True, help="of the second, from 0 to 1")
    args = parser.parse_args(argv)
    if args.doing == "base":
        sizes = {"lite": args.lite, "hidden": args.hidden, "dim": args.dim}
        model = new_heads(args.bundle, args.pairs, **sizes, seed=args.seed)
    elif args.doing in ("narrow", "debias"):
        dual, _ = load_starter(args.bundle)
        model = dual.module
        assert isinstance(model, StarterModel)
        every = args.doing == "debias"
        rows = _rows(dual, args.pairs, args.seed, model.images, model.texts, every=every)
        if args.doing == "narrow":
            kept = narrow(model, torch.cat(rows), dim=args.dim)
            print(f"{args.dim} of {rows[0].shape[1]} dimensions keep {100 * kept:.2f} %")
        else:
            take_off(model, *rows, sharpness=args.sharpness, weight=args.weight)
    else:
        read_checkpoint(args.trained)  # says what is wrong with it
        first, second = (load_starter(f)[0].module for f in (args.bundle, args.trained / "model"))
        assert isinstance(first, StarterModel)
        assert isinstance(second, StarterModel)
        model = join(first, second, share=args.share)
    write_starter(model, args.bundle, args.out / "model")
    describe(args.out, "starter", base=str(args.bundle), alpha=0.0, forced=False)


if __name__ == "__main__":
    main()
