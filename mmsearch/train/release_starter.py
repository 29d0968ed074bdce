"""The starter as it ships, from what training wrote: `... .release_starter DIR OUT --name NAME`.

DIR/model is a float32 bundle (`mmsearch train --base starter`); OUT is the same model with its
weights stored narrow and its text graph simplified beforehand, see `export_starter`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from mmsearch.encoders.bundle import read_json
from mmsearch.encoders.checkpoint import read_checkpoint
from mmsearch.encoders.onnx_graph import optimised
from mmsearch.encoders.onnx_writer import write_config
from mmsearch.errors import ModelUnavailable
from mmsearch.train.export_starter import STORED, save_narrow

LICENSE = (
    "weights trained on Flickr8k, OpenMoji (CC BY-SA 4.0), fashion and RSICD pictures: research "
    "and non-commercial use; see README.md"
)


def release(checkpoint: Path, out: Path, *, name: str) -> None:
    """Write the bundle that ships, its README.md aside.

    Args:
        checkpoint: what `mmsearch train` wrote, of kind "starter".
        out: the folder; files of an earlier release are replaced.
        name: "starter-" and the version.

    Raises:
        ModelUnavailable: the folder holds no starter, or a refused one.
        OSError: the folder cannot be written.
    """
    if (kind := read_checkpoint(checkpoint)["kind"]) != "starter":
        raise ModelUnavailable(f"{checkpoint} holds a model of kind {kind}, not a starter")
    source = checkpoint / "model"
    for tower in ("visual", "textual"):
        (out / tower).mkdir(parents=True, exist_ok=True)
        save_narrow(optimised(source / tower / "model.onnx"), out / tower / "model.onnx")
    for file in ("textual/tokenizer.json", "visual/preprocess_cfg.json"):
        shutil.copyfile(source / file, out / file)
    config = {k: v for k, v in read_json(source / "config.json").items() if k != "weights_hash"}
    config |= {
        "name": name,
        "optimized": ["textual"],
        "weights": STORED,
        "license": LICENSE,
    }
    write_config(out, config)


def main(argv: list[str] | None = None) -> None:
    """Release one model."""
    parser = argparse.ArgumentParser(prog="mmsearch.train.release_starter", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", required=True)
    args = parser.parse_args(argv)
    release(args.checkpoint, args.out, name=args.name)


if __name__ == "__main__":
    main()
