"""Any model as a folder of ONNX files that needs no torch: written, checked, then put in place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.encoders import load_encoder, resolve_model
from mmsearch.encoders.bundle import read_bundle, read_json
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.weights import bundle_hash
from mmsearch.errors import BadSource, ExportFailed, MissingExtra
from mmsearch.files import replace_folder
from mmsearch.models.agreement import Agreement, compare
from mmsearch.models.catalogue import model_info
from mmsearch.models.probes import find_probes

if TYPE_CHECKING:
    from mmsearch.encoders.torch_backend import DualModel
    from mmsearch.models.debiasing import Debiased, FairEncoder
    from mmsearch.models.probes import Probes
    from mmsearch.types import Encoder

LEAST = 0.999  # cosine
LEAST_INT8 = 0.99
OURS = {"config.json", "visual", "textual", "README.md", "MODEL_CARD.md", "report.md", "LICENSE"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. texts, pictures: the cosines with the source. megabytes: of all files."""

    folder: Path
    source: str
    space: str
    int8: bool
    checked_on: str
    pictures: Agreement
    texts: Agreement
    any_length: bool
    megabytes: float
    debiased: Debiased | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        agreement = {"pictures": self.pictures.as_dict(), "texts": self.texts.as_dict()}
        return {
            "folder": str(self.folder),
            "source": self.source,
            "space": self.space,
            "int8": self.int8,
            "checked_on": self.checked_on,
            **agreement,
            "any_length": self.any_length,
            "megabytes": self.megabytes,
            **({"debiased": self.debiased.as_dict()} if self.debiased else {}),
        }


def export_model(
    spec: str,
    out: Path,
    *,
    int8: bool = False,
    pictures: str | None = None,
    least: float | None = None,
    debias: Sequence[str] = (),
    force: bool = False,
    threads: int | None = None,
    say: Say = lambda _: None,
) -> Exported:
    """Write a model in the ONNX layout, check it against its source, and return what came out.

    The folder appears whole and checked, or not at all.

    Args:
        spec: as for `load_encoder`: a model in torch, or one that is ONNX already.
        out: the folder.
        int8: 8-bit matrix products.
        pictures: what to check on, as for `mmsearch index`; None: see `find_probes`.
        least: the least cosine that will do, for each picture and text; None: 0.999, with `int8`
            0.99.
        debias: pairs, as for `mmsearch train`, whose hubness is taken off (`debiasing`).
        force: replace a model that is in the folder.
        threads: CPU threads.
        say: gets a line now and then.

    Raises:
        BadSource: the folder is not empty, or the pictures cannot be read.
        ExportFailed: the model cannot be expressed in ONNX, or its copy differs too much.
        ModelUnavailable: the source cannot be loaded.
        MissingExtra: a library is not installed.
        UnknownName: no such model.
        OSError: the folder cannot be written.
    """
    out = out.expanduser().absolute()
    check_free(out, force=force)
    resolved = resolve_model(spec)
    probes = find_probes(resolved, pictures)
    if int8:
        # A text of one letter or none is a trial of padding; what rounding does to it is no matter.
        probes = replace(probes, texts=[text for text in probes.texts if len(text) > 1])
    say(f"loading {resolved}")
    source = load_encoder(resolved, threads=threads, device="cpu")
    fair, debiased = _debiased(source, debias, say) if debias else (None, None)
    made: list[Exported] = []

    def write(folder: Path) -> None:
        say(f"writing {out}")
        free = _write(source, resolved, folder, simplify=not int8)
        if int8:
            _quantize(folder, say)
        if fair:
            from mmsearch.models.debiasing import append

            append(folder, fair.heads)
        say(f"checking ({probes.source})")
        bound = least if least is not None else LEAST_INT8 if int8 else LEAST
        checked = _checked(fair or source, folder, probes, bound)
        _record(folder, resolved, int8, probes, checked, debiased)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        name = load_encoder(f"onnx:{folder}").space.name
        made.append(
            Exported(out, resolved, name, int8, probes.source, *checked, free,
                     round(size / 1e6, 1), debiased)
        )  # fmt: skip

    replace_folder(out, write)
    return made[0]


def check_free(out: Path, *, force: bool) -> None:
    """Return if a model may be written to the folder.

    Raises:
        BadSource: it is a file, or holds something; with `force`, something else than a model.
    """
    if out.is_dir():
        inside = {path.name for path in out.iterdir()}
        model = "config.json" in inside and {"visual", "textual"} & inside and inside <= OURS
        if inside and not (force and model):
            advice = (
                "--force replaces a model, and nothing else"
                if force
                else "give another folder, or --force to replace the model in it"
            )
            raise BadSource(f"{out} is not empty; {advice}")
    elif out.exists() or out.is_symlink():
        raise BadSource(f"{out} is no folder")


def _debiased(source: Encoder, pairs: Sequence[str], say: Say) -> tuple[FairEncoder, Debiased]:
    try:
        from mmsearch.models.debiasing import debiased
    except ModuleNotFoundError as error:
        raise MissingExtra(f"mmsearch models export --debias ({error.name})", "train") from error
    return debiased(source, pairs, say=say)


def _write(source: Encoder, spec: str, folder: Path, *, simplify: bool) -> bool:
    """Write the model, not yet quantised; return whether it takes texts of any length."""
    if isinstance(source, OnnxEncoder):
        return _copy(source, folder)
    dual = getattr(source, "model", None)
    if dual is None or not hasattr(dual, "tokenizer"):
        raise ExportFailed(f"{spec} is no model of torch or ONNX and cannot be exported")
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra("mmsearch models export (onnx)", "train") from error
    return _write_torch(dual, folder, license_=model_info(spec).license, simplify=simplify)


def _copy(source: OnnxEncoder, folder: Path) -> bool:
    origin = source.bundle.folder
    for name in OURS:
        place = origin / name
        if place.is_dir():
            # not what else lies beside the towers in a hub's repository
            ignored = shutil.ignore_patterns("*.armnn", "*.rknn", "fp16", "rknpu", ".*")
            shutil.copytree(place, folder / name, ignore=ignored)
        elif place.is_file():
            shutil.copyfile(place, folder / name)
    return source.any_length()


def _write_torch(dual: DualModel, folder: Path, *, license_: str, simplify: bool) -> bool:
    from mmsearch.encoders.bundle import Bundle
    from mmsearch.encoders.onnx_writer import write_config
    from mmsearch.encoders.tokens import Tokens
    from mmsearch.models.tokenizers import check_tokens, pads_whole, write_tokenizer
    from mmsearch.models.towers import write_images, write_texts
    from mmsearch.preprocess import Preprocess

    if not isinstance(dual.preprocess, Preprocess):
        raise ExportFailed(
            f"{dual.name} prepares pictures in a way that preprocess_cfg.json cannot say"
        )
    said = write_tokenizer(dual, folder / "textual")
    name = dual.name.partition("/")[0]
    bundle = Bundle(folder=folder, name=name, dim=0, image_size=dual.image_size, **said)
    tokens = Tokens(bundle, bundle.context_length)
    check_tokens(dual, tokens)
    write_images(dual, folder / "visual" / "model.onnx")
    free = write_texts(dual, folder / "textual" / "model.onnx", tokens)
    if simplify:
        _simplify_texts(folder)
    _write_json(folder / "visual" / "preprocess_cfg.json", dual.preprocess.as_open_clip())
    config: dict[str, Any] = {
        "name": name,
        "dim": int(dual.texts(dual.tokenize(["a"])).shape[1]),
        "image_size": dual.image_size,
        **({"optimized": ["textual"]} if simplify else {}),
        **said,
        "license": license_,
    }
    if free and pads_whole(dual):
        config["padding"] = "longest"  # the tower does not see it
    write_config(folder, config)
    return free


def _quantize(folder: Path, say: Say) -> None:
    try:
        from mmsearch.models.int8 import quantize

        for tower in ("visual", "textual"):
            n = quantize(folder / tower / "model.onnx")
            say(f"{tower}: {n} matrix products in 8 bits")
    except ModuleNotFoundError as error:
        raise MissingExtra(f"mmsearch models export --int8 ({error.name})", "train") from error
    _simplify_texts(folder)
    config = read_json(folder / "config.json")
    if "embed_dim" not in config:  # open_clip's own form has no such field
        config["optimized"] = ["textual"]
    if "weights_hash" in config:
        config["weights_hash"] = bundle_hash(folder)
    _write_json(folder / "config.json", config)


def _simplify_texts(folder: Path) -> None:
    """Do what ONNX Runtime does to a graph at every load: for a query that is most of the load.

    The other tower keeps its form: its convolutions are laid out for the CPU when it is loaded.
    """
    from mmsearch.encoders.onnx_graph import optimised, save_graph

    path = folder / "textual" / "model.onnx"
    graph = optimised(path)
    for old in path.parent.glob("*.data"):
        old.unlink()
    save_graph(graph, path)


def _checked(
    source: Encoder, folder: Path, probes: Probes, least: float
) -> tuple[Agreement, Agreement]:
    found = compare(source, OnnxEncoder(read_bundle(folder), device="cpu"), probes)
    for what, agreement in zip(("pictures", "texts"), found, strict=True):
        if not agreement.least >= least:  # NaN is no agreement either
            raise ExportFailed(
                f"the copy differs from its source: least cosine {agreement.least:.4f} on "
                f"{agreement.n} {what} ({probes.source}), mean {agreement.mean:.4f}; "
                f"{least:g} is asked for (--least-cosine). Nothing was written"
            )
    return found


def _record(
    folder: Path, spec: str, int8: bool, probes: Probes, checked: tuple[Agreement, Agreement],
    debiased: Debiased | None,
) -> None:  # fmt: skip
    """Add to config.json, which the weights' hash does not cover, what was measured."""
    config = read_json(folder / "config.json")
    pictures, texts = (agreement.as_dict() for agreement in checked)
    config["checked"] = {
        "source": spec,
        "int8": int8,
        "on": probes.source,
        "pictures": pictures,
        "texts": texts,
    }
    if debiased:
        config["debiased"] = debiased.as_dict()
    _write_json(folder / "config.json", config)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


__all__ = ["LEAST", "LEAST_INT8", "Exported", "check_free", "export_model"]
