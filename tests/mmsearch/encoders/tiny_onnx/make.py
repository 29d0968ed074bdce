"""Write the tiny ONNX bundles beside this file: `python make.py`. Standard library only.

Both models do what the colour encoder does, so that each score can be worked out by hand: a
picture is its mean colour, a text the sum of its words' colours.

`masked`: our own layout; both axes of the text dynamic, an attention mask.
`immich`: open_clip's config; batches of exactly 1, int32 ids, no mask, 8 tokens.
`external`: as `masked`, with the text tower's table in a file of its own.

The protobuf is written by hand (its wire format is two rules long), because the `onnx` package is
no part of the core install; `test_the_committed_bundles_are_what_the_script_makes` keeps it honest.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

FLOAT, INT32, INT64 = 1, 6, 7  # TensorProto.DataType
WORDS = {
    "[PAD]": (9, 9, 9),  # loud: a model that reads its padding is far off
    "[UNK]": (1, 1, 1),
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "nan": (float("nan"), 0, 0),
    "nothing": (0, 0, 0),
}
CONTEXT = 8


def field(number: int, value: int | str | bytes) -> bytes:
    """Return one protobuf field: a varint for an int, else length and bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def node(op: str, inputs: list[str], output: str, **attributes: int | list[int]) -> bytes:
    body = b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, op)
    for name, value in attributes.items():
        if isinstance(value, int):
            body += field(5, field(1, name) + field(3, value) + field(20, 2))
        else:
            numbers = b"".join(field(8, v) for v in value)
            body += field(5, field(1, name) + numbers + field(20, 7))
    return body


def tensor_type(name: str, kind: int, shape: list[int | str]) -> bytes:
    dims = b"".join(field(1, field(1 if isinstance(d, int) else 2, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def table(external: str = "") -> tuple[bytes, bytes]:
    """Return the initializer `table`, (words, 3) float32, and its raw bytes."""
    raw = b"".join(struct.pack("<3f", *row) for row in WORDS.values())
    body = field(1, len(WORDS)) + field(1, 3) + field(2, FLOAT) + field(8, "table")
    if external:
        where = {"location": external, "offset": "0", "length": str(len(raw))}
        body += b"".join(field(13, field(1, k) + field(2, v)) for k, v in where.items())
        return body + field(14, 1), raw
    return body + field(9, raw), raw


def model(
    nodes: list[bytes], inputs: list[bytes], output: bytes, initializer: bytes = b""
) -> bytes:
    graph = b"".join(field(1, n) for n in nodes) + field(2, "tiny")
    graph += field(5, initializer) if initializer else b""
    graph += b"".join(field(11, i) for i in inputs) + field(12, output)
    return field(1, 6) + field(7, graph) + field(8, field(1, "") + field(2, 11))


def visual(batch: int | str) -> bytes:
    return model(
        [node("ReduceMean", ["pixels"], "embedding", axes=[2, 3], keepdims=0)],
        [tensor_type("pixels", FLOAT, [batch, 3, 4, 4])],
        tensor_type("embedding", FLOAT, [batch, 3]),
    )


def textual_masked(external: str = "") -> bytes:
    return model(
        [
            node("Gather", ["table", "input_ids"], "words", axis=0),
            node("Cast", ["attention_mask"], "mask", to=FLOAT),
            node("Unsqueeze", ["mask"], "column", axes=[2]),
            node("Mul", ["words", "column"], "masked"),
            node("ReduceSum", ["masked"], "embedding", axes=[1], keepdims=0),
        ],
        [
            tensor_type("input_ids", INT64, ["batch", "tokens"]),
            tensor_type("attention_mask", INT64, ["batch", "tokens"]),
        ],
        tensor_type("embedding", FLOAT, ["batch", 3]),
        table(external)[0],
    )


def textual_immich() -> bytes:
    """Return a model like Immich's: fixed batch and length; what it pads with, it also reads."""
    return model(
        [
            node("Gather", ["table", "text"], "words", axis=0),
            node("ReduceSum", ["words"], "embedding", axes=[1], keepdims=0),
        ],
        [tensor_type("text", INT32, [1, CONTEXT])],
        tensor_type("embedding", FLOAT, [1, 3]),
        table()[0],
    )


def tokenizer() -> dict[str, object]:
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: i for i, word in enumerate(WORDS)},
            "unk_token": "[UNK]",
        },
    }


PREPROCESS = {
    "size": 4,
    "mode": "RGB",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "interpolation": "bicubic",
    "resize_mode": "squash",
    "fill_color": 0,
}
OWN = {"name": "tiny", "dim": 3, "image_size": 4, "context_length": CONTEXT}
OPEN_CLIP = {
    "embed_dim": 3,
    "vision_cfg": {"image_size": 4},
    "text_cfg": {"context_length": CONTEXT, "tokenizer_kwargs": {"clean": "canonicalize"}},
}


def write(folder: Path, config: object, visual: bytes, textual: bytes, **beside: bytes) -> None:
    for tower, graph in (("visual", visual), ("textual", textual)):
        (folder / tower).mkdir(parents=True, exist_ok=True)
        (folder / tower / "model.onnx").write_bytes(graph)
    for name, data in beside.items():
        (folder / "textual" / name).write_bytes(data)
    # "nothing" is the zero vector: padding with it leaves a sum alone, padding with id 0 does not.
    names = {"config.json": config, "visual/preprocess_cfg.json": PREPROCESS}
    names |= {"textual/tokenizer.json": tokenizer()}
    names |= {"textual/tokenizer_config.json": {"pad_token": {"content": "nothing"}}}
    for name, value in names.items():
        (folder / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def main(root: Path) -> None:
    write(root / "masked", OWN, visual("batch"), textual_masked())
    write(root / "immich", OPEN_CLIP, visual(1), textual_immich())
    write(
        root / "external", OWN, visual("batch"), textual_masked("table.data"),
        **{"table.data": table()[1]},
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
