"""Tiny random models of transformers' families, as folders on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import transformers as tf
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

TEXTS = ["a cat", "two dogs and a cat on a beach", "a"]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [*MARKS, "a", "cat", "two", "dogs", "and", "on", "beach", "CAT"]
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
TEXT = {**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 12}
VISION = {**SMALL, "image_size": 32, "patch_size": 16}


def picture(size: tuple[int, int]) -> Image.Image:
    """Return a smooth picture of many colours."""
    y, x = np.indices((size[1], size[0])) / max(size)
    return Image.fromarray((np.stack([x, y, 1 - x * y], -1) * 255).astype(np.uint8))


def save_tokenizer(folder: Path, *, length: int = 12, words: list[str] = WORDS) -> None:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Strip()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=length,
    ).save_pretrained(folder)


def save_processor(folder: Path, **changes: object) -> None:
    """Write preprocessor_config.json as the hub's repositories have it."""
    config = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": 32},
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    config = {key: v for key, v in {**config, **changes}.items() if v is not None}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def clip(folder: Path, words: list[str] = WORDS) -> None:
    # CLIP takes the vector at the end-of-text token: here [SEP].
    text = {**TEXT, "vocab_size": len(words), "eos_token_id": 3, "bos_token_id": 2,
            "pad_token_id": 0}  # fmt: skip
    tf.CLIPModel(
        tf.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    ).save_pretrained(folder)
    save_tokenizer(folder, words=words)
    save_processor(folder)


def siglip(folder: Path) -> None:
    tf.SiglipModel(
        tf.SiglipConfig(text_config={**TEXT, "projection_size": 16}, vision_config=VISION)
    ).save_pretrained(folder)
    save_tokenizer(folder)
    save_processor(
        folder,
        image_processor_type="SiglipImageProcessor",
        size={"height": 32, "width": 32},
        do_center_crop=None,
        crop_size=None,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def chinese_clip(folder: Path) -> None:
    tf.ChineseCLIPModel(
        tf.ChineseCLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    ).save_pretrained(folder)
    save_tokenizer(folder)
    save_processor(folder)


def vit_bert(folder: Path) -> None:
    config = tf.VisionTextDualEncoderConfig.from_vision_text_configs(
        tf.ViTConfig(**VISION), tf.BertConfig(**TEXT), projection_dim=16
    )
    tf.VisionTextDualEncoderModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    save_processor(
        folder,
        image_processor_type="ViTImageProcessor",
        size={"height": 32, "width": 32},
        do_center_crop=None,
        crop_size=None,
    )


def alt_clip(folder: Path) -> None:
    # RoBERTa counts positions from pad_token_id + 1: of 14, only 13 are left for tokens.
    text = {**TEXT, "max_position_embeddings": 14, "pad_token_id": 0, "project_dim": 16}
    tf.AltCLIPModel(
        tf.AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    ).save_pretrained(folder)
    save_tokenizer(folder, length=512)
    save_processor(folder)


def metaclip_2(folder: Path) -> None:
    text = {**TEXT, "eos_token_id": 3, "bos_token_id": 2, "pad_token_id": 0}
    tf.MetaClip2Model(
        tf.MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=16)
    ).save_pretrained(folder)
    save_tokenizer(folder)
    save_processor(folder)


BUILDERS = {
    "alt_clip": alt_clip,
    "metaclip_2": metaclip_2,
    "clip": clip,
    "siglip": siglip,
    "chinese_clip": chinese_clip,
    "vit_bert": vit_bert,
}
