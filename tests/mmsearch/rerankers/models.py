"""Tiny random models of the families that re-rank, as folders on disk."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as tf
from safetensors.torch import save_file

from tests.mmsearch.answering.models import blip as any_blip
from tests.mmsearch.answering.models import llava as any_llava
from tests.mmsearch.answering.models import tokenizer
from tests.mmsearch.encoders.hf_models import SMALL, TEXT, VISION, WORDS

WIDTH = 6  # of a region's features


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model with larger weights, so that pictures and texts make a difference."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def blip(folder: Path) -> Path:
    any_blip(folder, tf.BlipForImageTextRetrieval)
    model = tf.BlipForImageTextRetrieval.from_pretrained(folder)
    lively(model).save_pretrained(folder)
    return folder


def blip2(folder: Path) -> Path:
    torch.manual_seed(0)
    former = {**TEXT, "max_position_embeddings": 64, "encoder_hidden_size": 16}
    former |= {"use_qformer_text_input": True, "pad_token_id": 0}
    config = tf.Blip2Config(
        vision_config=VISION, qformer_config=former, num_query_tokens=4,
        image_text_hidden_size=16, image_token_index=len(WORDS),
    )  # fmt: skip
    lively(tf.Blip2ForImageTextRetrieval(config)).save_pretrained(folder)
    images = tf.BlipImageProcessor(size={"height": 32, "width": 32})
    tf.Blip2Processor(images, tokenizer(folder), num_query_tokens=4).save_pretrained(folder)
    return folder


def vilt(folder: Path) -> Path:
    torch.manual_seed(0)
    config = tf.ViltConfig(**{**TEXT, "max_position_embeddings": 20}, image_size=32, patch_size=16)
    lively(tf.ViltForImageAndTextRetrieval(config)).save_pretrained(folder)
    images = tf.ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=16)
    tf.ViltProcessor(images, tokenizer(folder)).save_pretrained(folder)
    return folder


def bridgetower(folder: Path) -> Path:
    torch.manual_seed(0)
    two = {**SMALL, "hidden_size": 64, "num_hidden_layers": 2}  # a head of its vision has 64
    text = {**two, "vocab_size": len(WORDS), "max_position_embeddings": 32, "pad_token_id": 0,
            "type_vocab_size": 1}  # fmt: skip
    vision = {"hidden_size": 64, "num_hidden_layers": 2, "patch_size": 16, "image_size": 32}
    config = tf.BridgeTowerConfig(
        text_config=text, vision_config=vision, hidden_size=64, num_hidden_layers=2,
        num_attention_heads=2,
    )  # fmt: skip
    lively(tf.BridgeTowerForImageAndTextRetrieval(config)).save_pretrained(folder)
    images = tf.BridgeTowerImageProcessor(
        size={"shortest_edge": 32}, crop_size={"shortest_edge": 32}, size_divisor=16
    )
    tf.BridgeTowerProcessor(images, tokenizer(folder)).save_pretrained(folder)
    return folder


def lxmert(folder: Path, width: int = WIDTH) -> Path:
    torch.manual_seed(0)
    config = tf.LxmertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_attention_heads=2, intermediate_size=32,
        l_layers=1, x_layers=1, r_layers=1, visual_feat_dim=width, num_qa_labels=4,
        max_position_embeddings=20,
    )  # fmt: skip
    lively(tf.LxmertForPreTraining(config)).save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    return folder


def visualbert(folder: Path) -> Path:
    torch.manual_seed(0)
    config = tf.VisualBertConfig(
        **{**TEXT, "max_position_embeddings": 20}, visual_embedding_dim=WIDTH
    )
    lively(tf.VisualBertForPreTraining(config)).save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    return folder


def uniter_state(
    *, head: str = "itm_output", layers: int = 2, width: int = WIDTH
) -> dict[str, torch.Tensor]:
    """Return random weights under the names of github.com/ChenRocks/UNITER's checkpoints."""
    size, inner = 16, 32
    linear = {
        "img_embeddings.img_linear": (size, width),
        "img_embeddings.pos_linear": (size, 7),
        "pooler.dense": (size, size),
    }
    norms = ["embeddings.LayerNorm"]
    norms += [f"img_embeddings.{n}" for n in ("img_layer_norm", "pos_layer_norm", "LayerNorm")]
    for n in range(layers):
        at = f"encoder.layer.{n}"
        linear |= {f"{at}.attention.self.{n}": (size, size) for n in ("query", "key", "value")}
        linear |= {f"{at}.attention.output.dense": (size, size)}
        linear |= {f"{at}.intermediate.dense": (inner, size), f"{at}.output.dense": (size, inner)}
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    rows = {"word": len(WORDS), "position": 20, "token_type": 2}
    shapes = {f"embeddings.{n}_embeddings.weight": (rows[n], size) for n in rows}
    shapes |= {"img_embeddings.mask_embedding.weight": (2, width)}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    shapes |= {f"{name}.{part}": (size,) for name in norms for part in ("weight", "bias")}
    shapes = {f"uniter.{name}": shape for name, shape in shapes.items()}
    classes = {"itm_output": 2, "rank_output": 1}[head]
    shapes |= {f"{head}.weight": (classes, size), f"{head}.bias": (classes,)}
    made = torch.Generator().manual_seed(0)
    return {name: 0.5 * torch.randn(shape, generator=made) for name, shape in shapes.items()}


UNITER = {**TEXT, "max_position_embeddings": 20, "num_hidden_layers": 2, "hidden_act": "gelu"}


def uniter(folder: Path, width: int = WIDTH) -> Path:
    """Return a folder as docs/reranking.md has it: config.json, safetensors, a tokenizer."""
    tokenizer(folder).save_pretrained(folder)
    save_file(uniter_state(width=width), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "uniter", **UNITER}))
    return folder


def vlm(folder: Path, words: tuple[str, ...] = ("yes", "no", "Yes")) -> Path:
    any_llava(folder, words=(*WORDS, *words))
    model = tf.LlavaForConditionalGeneration.from_pretrained(folder)
    lively(model).save_pretrained(folder)
    return folder
