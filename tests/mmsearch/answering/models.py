"""Tiny random models of the families that answer and describe, as folders on disk."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as tf

from tests.mmsearch.encoders.hf_models import SMALL, TEXT, VISION, WORDS, save_tokenizer

ANSWERS = {0: "cat", 1: "dog", 2: "beach", 3: "two"}
LABELS = {"id2label": ANSWERS, "label2id": {v: k for k, v in ANSWERS.items()}}
LENGTH = 12
CHAT = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


def tokenizer(folder: Path, words: list[str] = WORDS) -> tf.PreTrainedTokenizerFast:
    """Return a tokenizer of few words, bos and eos as a decoder needs them."""
    save_tokenizer(folder, length=64, words=words)
    return tf.PreTrainedTokenizerFast.from_pretrained(
        folder,
        bos_token="[CLS]",
        eos_token="[SEP]",
        additional_special_tokens=[word for word in words if word == "<image>"],
        model_input_names=["input_ids", "attention_mask"],
    )


def vilt(folder: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    config = tf.ViltConfig(**{**TEXT, "max_position_embeddings": 20}, image_size=32, patch_size=16,
                           **{**LABELS, **changes})  # fmt: skip
    tf.ViltForQuestionAnswering(config).save_pretrained(folder)
    images = tf.ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=16)
    tf.ViltProcessor(images, tokenizer(folder)).save_pretrained(folder)
    return folder


def blip(folder: Path, kind: type = tf.BlipForQuestionAnswering) -> Path:
    torch.manual_seed(0)
    text = {**TEXT, "max_position_embeddings": 64, "encoder_hidden_size": 16, "projection_dim": 16,
            "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}  # fmt: skip
    config = tf.BlipConfig(text_config=text, vision_config=VISION, projection_dim=16)
    kind(config).save_pretrained(folder)
    images = tf.BlipImageProcessor(size={"height": 32, "width": 32})
    tf.BlipProcessor(images, tokenizer(folder)).save_pretrained(folder)
    return folder


def lxmert(folder: Path) -> Path:
    torch.manual_seed(0)
    config = tf.LxmertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_attention_heads=2, intermediate_size=32,
        l_layers=1, x_layers=1, r_layers=1, visual_feat_dim=6, num_qa_labels=4, num_labels=4,
        max_position_embeddings=20, **LABELS,
    )  # fmt: skip
    tf.LxmertForQuestionAnswering(config).save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    return folder


def llava(folder: Path, template: str | None = CHAT, words: tuple[str, ...] = tuple(WORDS)) -> Path:
    torch.manual_seed(0)
    words = (*words, "<image>")
    text = tf.LlamaConfig(**{**SMALL, "vocab_size": len(words)}, max_position_embeddings=128,
                          bos_token_id=2, eos_token_id=3, pad_token_id=0)  # fmt: skip
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**VISION), text_config=text,
        image_token_index=words.index("<image>"), vision_feature_layer=-1,
    )  # fmt: skip
    tf.LlavaForConditionalGeneration(config).save_pretrained(folder)
    side = {"height": 32, "width": 32}
    made = tf.LlavaProcessor(
        tf.CLIPImageProcessor(size=side, crop_size=side), tokenizer(folder, list(words)),
        patch_size=16, vision_feature_select_strategy="default", chat_template=template,
        image_token="<image>", num_additional_image_tokens=1,
    )  # fmt: skip
    made.save_pretrained(folder)
    return folder
