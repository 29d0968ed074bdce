"""What `mmsearch train` wrote: `checkpoint:DIR`.

DIR/checkpoint.json says of which kind DIR/model is: "starter", an ONNX bundle, which needs no
torch; "hf", a folder of transformers; "open_clip", a config and its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.encoders import ENCODERS, Towers
from mmsearch.encoders.bundle import read_json
from mmsearch.errors import ModelUnavailable

if TYPE_CHECKING:
    from mmsearch.encoders.torch_backend import DualModel
    from mmsearch.types import Encoder

CHECKPOINT = "checkpoint.json"
FORMAT = 1


def open_checkpoint(
    argument: str, *, threads: int | None, device: str | None, towers: Towers
) -> Encoder:
    """Return the encoder that a training run has written and the guard has let pass.

    Raises:
        ModelUnavailable: there is no finished run in the folder, it was refused, or its files are
            damaged; no such device.
        MissingExtra: it is of a kind that needs torch.
    """
    folder = Path(argument).expanduser()
    kind = read_checkpoint(folder)["kind"]
    model = folder / "model"
    if kind == "starter":
        return ENCODERS.make("onnx")(str(model), threads=threads, device=device, towers=towers)
    if kind not in ("hf", "open_clip"):
        raise ModelUnavailable(
            f"{folder} holds a model of kind {kind!r}, which this version of mmsearch cannot load"
        )
    # Through the registry: it turns a missing torch into the advice of what to install.
    ENCODERS.make(kind)
    from mmsearch.encoders.torch_backend import TorchEncoder

    dual = hf_dual(model) if kind == "hf" else open_clip_dual(model)[1]
    return TorchEncoder(dual, threads=threads, device=device)


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Return what the folder's checkpoint.json says.

    Raises:
        ModelUnavailable: there is none, for the reason that the message gives, or its format is
            unknown.
    """
    path = folder / CHECKPOINT
    if not folder.is_dir():
        raise ModelUnavailable(f"folder {folder} does not exist; write checkpoint:DIR")
    if not path.is_file():
        if (folder / "report.json").is_file():
            raise ModelUnavailable(
                f"the training in {folder} was refused, see its report.md; the same command "
                "with --force keeps the model all the same"
            )
        unfinished = (folder / "resume.pt").is_file()
        raise ModelUnavailable(
            f"the training in {folder} is not finished; run the same command again to go on"
            if unfinished
            else f"{folder} holds no {CHECKPOINT}: mmsearch train --out has not written it"
        )
    facts = read_json(path)
    if facts.get("format") != FORMAT or not isinstance(facts.get("kind"), str):
        raise ModelUnavailable(f"{path} is of format {facts.get('format')!r}, not {FORMAT}")
    return facts


def hf_dual(folder: Path) -> DualModel:
    """Return a folder of transformers, float32, on the CPU, with text towers pooled as they need.

    Raises:
        ModelUnavailable: it is no dual encoder that loads.
    """
    from dataclasses import replace

    from mmsearch.encoders.hf import _dual
    from mmsearch.encoders.pooling import pooled, pooling_of, without_decoder
    from mmsearch.encoders.weights import hash_tensors

    dual = _dual(folder)
    if without_decoder(dual.module):
        kind = dual.name.partition("/")[0]
        dual = replace(dual, name=f"{kind}/{hash_tensors(dual.module.state_dict())}")
    return pooled(dual, pooling_of(dual.module))


def open_clip_dual(folder: Path) -> tuple[str, DualModel]:
    """Return architecture and model of a folder that training wrote, float32, on the CPU.

    Raises:
        ModelUnavailable: its files are missing, damaged, or do not belong together.
    """
    from dataclasses import replace

    import open_clip

    from mmsearch.encoders.openclip import _create, _dual
    from mmsearch.preprocess import Preprocess

    config = read_json(folder / "open_clip_config.json")
    arch = str(config.get("arch"))
    if arch not in open_clip.list_models():  # an architecture of the user's own
        open_clip.add_model_config(folder / f"{arch}.json")
    weights = folder / "open_clip_model.safetensors"
    if arch not in open_clip.list_models() or not weights.is_file():
        raise ModelUnavailable(f"{folder} lacks {arch}.json or {weights.name}; train it again")
    dual = _dual(arch, _create(arch, str(weights)), weights)
    # From a file open_clip takes the architecture's own means; the base may have had others.
    preprocess = Preprocess.from_open_clip(config["preprocess_cfg"])
    return arch, replace(dual, preprocess=preprocess, image_size=preprocess.size)
