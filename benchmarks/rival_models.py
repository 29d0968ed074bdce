"""One ViT-B/32 of random weights (open_clip's ViT-B-32-256) in the form that each rival loads.

    python -m benchmarks.rival_models WORK

No hub is asked: WORK gets model.pt (open_clip, clip-retrieval), fp32/ and int8/ (mmsearch), rclip/
(its data folder) and hf/ (sentence-transformers: the same architecture, weights of its own).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ARCH = "ViT-B-32-256"  # rclip 4's; 256 pixels a side, 65 tokens
LEGAL = ("LICENSE", "OPENAI-CLIP-MIT.txt", "README.md", "THIRD_PARTY_NOTICES.md")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "model.pt").exists():
        write_checkpoint(work / "model.pt")
    for name, options in (("fp32", []), ("int8", ["--int8", "--least-cosine", "0.99"])):
        if not (work / name).exists():
            spec = f"open_clip:{ARCH}/{work / 'model.pt'}"
            command = [sys.executable, "-m", "mmsearch", "models", "export", spec, work / name]
            subprocess.run([*command, *options], check=True)
    if not (work / "rclip").exists():
        write_rclip(work / "model.pt", work / "fp32", work / "rclip")
    if not (work / "hf").exists():
        write_hf(work / "fp32", work / "hf")


def write_checkpoint(path: Path) -> None:
    import open_clip
    import torch

    torch.manual_seed(0)
    torch.save(open_clip.create_model(ARCH).state_dict(), path)


def write_rclip(checkpoint: Path, source: Path, folder: Path) -> None:
    """Write the graphs as rclip ships them: one file each, `input` in, `output` out.

    The image tower comes from torch's exporter as it is, without what our export does to it.
    """
    import onnx
    import open_clip
    import torch

    from mmsearch.encoders.onnx_writer import write_tower

    models = folder / "ViT-B-32-256-datacomp_s34b_b86k"
    models.mkdir(parents=True)
    model = open_clip.create_model(ARCH)
    model.load_state_dict(torch.load(checkpoint))
    pixels = torch.zeros(2, 3, 256, 256)
    plain = folder / "plain" / "model.onnx"
    write_tower(plain, model, model.encode_image, (pixels,), {"image": {0: "n"}})
    for tower, path in (("visual", plain), ("textual", source / "textual" / "model.onnx")):
        graph = onnx.load(str(path))
        old = {graph.graph.input[0].name: "input", graph.graph.output[0].name: "output"}
        for value in (*graph.graph.input, *graph.graph.output):
            value.name = old.get(value.name, value.name)
        for node in graph.graph.node:
            for names in (node.input, node.output):
                names[:] = [old.get(name, name) for name in names]
        onnx.save_model(graph, str(models / f"{tower}.onnx"))
    shutil.rmtree(plain.parent)
    vocabulary = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / vocabulary.name).write_bytes(vocabulary.read_bytes())
    for name in LEGAL:  # it asks the hub for those that it lacks
        (folder / name).touch()


def write_hf(source: Path, folder: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizerFast,
    )

    config = CLIPConfig(
        text_config={"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8},
        vision_config={"image_size": 256, "patch_size": 32},
    )
    CLIPModel(config).save_pretrained(folder)
    side = {"shortest_edge": 256}
    images = CLIPImageProcessor(size=side, crop_size={"height": 256, "width": 256})
    tokenizer = Tokenizer.from_file(str(source / "textual" / "tokenizer.json"))
    texts = CLIPTokenizerFast(tokenizer_object=tokenizer)
    CLIPProcessor(images, texts).save_pretrained(folder)


if __name__ == "__main__":
    main()
