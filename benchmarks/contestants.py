"""The programs that embed a folder of pictures, each as the command of a whole process.

Every one ends with its vectors on the disk. Rivals run from environments of their own; what they
are given is made by `rival_models.py`.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

ARCH = "ViT-B-32-256"
# Indexing alone: its command would load the text tower, too, and answer a query.
RCLIP = """
import sys
from rclip.main import init_rclip
found = init_rclip(sys.argv[1], 8)
found[0].close(), found[1].close(), found[2].close()
"""
SENTENCE_TRANSFORMERS = """
import sys, numpy
from pathlib import Path
from PIL import Image
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[2], device="cpu")
paths = sorted(Path(sys.argv[1]).glob("*.jpg"))
blocks = []
for at in range(0, len(paths), 128):  # its examples open all at once, which memory forbids
    images = [Image.open(path) for path in paths[at : at + 128]]
    blocks.append(model.encode(images, batch_size=32, show_progress_bar=False))
numpy.save(sys.argv[3], numpy.concatenate(blocks))
"""
CLIP_RETRIEVAL = """
import sys
from clip_retrieval import clip_inference
clip_inference(input_dataset=sys.argv[1], output_folder=sys.argv[3], input_format="files",
    enable_text=False, clip_model=f"open_clip:{sys.argv[4]}/{sys.argv[2]}", use_jit=False,
    batch_size=32, num_prepro_workers=2, output_partition_count=1)
"""


@dataclass(frozen=True)
class Contestant:
    """A command; `{}` in it is a folder that is empty before each run."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    seed: Path | None = None  # files that are linked into the empty folder first

    def prepare(self, out: Path) -> tuple[list[str], dict[str, str]]:
        """Return the command and its environment, with `out` made anew."""
        shutil.rmtree(out, ignore_errors=True)
        if self.seed:
            shutil.copytree(self.seed, out, copy_function=os.link)
        else:
            out.mkdir(parents=True)
        command = [part.replace("{}", str(out)) for part in self.command]
        extra = {name: value.replace("{}", str(out)) for name, value in self.environment.items()}
        return command, os.environ | {"HF_HUB_OFFLINE": "1"} | extra


def contestants(
    work: Path, pictures: Path, *, rclip: str | None, clip_retrieval: str | None
) -> list[Contestant]:
    """Return those that can run: mmsearch, sentence-transformers, and the rivals that are named.

    Args:
        work: what `rival_models.py` made.
        rclip, clip_retrieval: the Python of an environment that has it.
    """
    found = [_mmsearch(work, pictures, "int8"), _mmsearch(work, pictures, "fp32")]
    if rclip:
        command = [rclip, "-c", RCLIP, str(pictures)]
        found.append(Contestant("rclip", command, {"RCLIP_DATADIR": "{}"}, seed=work / "rclip"))
    script = [sys.executable, "-c", SENTENCE_TRANSFORMERS]
    command = [*script, str(pictures), str(work / "hf"), "{}/vectors.npy"]
    found.append(Contestant("sentence-transformers", command))
    if clip_retrieval:
        script = [clip_retrieval, "-c", CLIP_RETRIEVAL]
        command = [*script, str(pictures), str(work / "model.pt"), "{}", ARCH]
        found.append(Contestant("clip-retrieval", command, {"CUDA_VISIBLE_DEVICES": ""}))
    return found


def _mmsearch(work: Path, pictures: Path, precision: str) -> Contestant:
    command = [sys.executable, "-m", "mmsearch", "index", str(pictures), "--quiet"]
    options = ["--model", f"onnx:{work / precision}", "--store", "{}/store"]
    return Contestant(f"mmsearch {precision}", [*command, *options])
