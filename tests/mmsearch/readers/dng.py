"""A camera raw file (DNG) made by hand: a preview, and sensor data of one grey."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

_FORMS = {1: "B", 3: "H", 4: "I"}
Field = tuple[int, int, object]  # tag, type of TIFF, values


def dng(preview: bytes, *, flip: int = 1) -> bytes:
    """Return a DNG whose preview is this JPEG; flip: TIFF's orientation."""
    data = np.full((96, 128), 1000, "<u2").tobytes()
    preview += b"\0" * (len(preview) % 2)
    data_at = 8 + len(preview)
    raw_at = data_at + len(data)
    raw: list[Field] = [
        (254, 4, [0]), (256, 4, [128]), (257, 4, [96]), (258, 3, [16]), (259, 3, [1]),
        (262, 3, [32803]), (273, 4, [data_at]), (277, 3, [1]), (278, 4, [96]),
        (279, 4, [len(data)]), (33421, 3, [2, 2]), (33422, 1, [0, 1, 1, 2]), (50714, 3, [0]),
        (50717, 4, [4095]),
    ]  # fmt: skip
    raw_directory = _directory(raw, raw_at)
    main_at = raw_at + len(raw_directory)
    with Image.open(io.BytesIO(preview)) as image:
        width, height = image.size
    identity = [(int(n % 4 == 0), 1) for n in range(9)]
    main: list[Field] = [
        (254, 4, [1]), (256, 4, [width]), (257, 4, [height]), (258, 3, [8, 8, 8]), (259, 3, [7]),
        (262, 3, [6]), (271, 2, b"Maker\0"), (272, 2, b"Model\0"), (273, 4, [8]), (274, 3, [flip]),
        (277, 3, [3]), (278, 4, [height]), (279, 4, [len(preview)]), (330, 4, [raw_at]),
        (50706, 1, [1, 4, 0, 0]), (50708, 2, b"Maker Model\0"), (50721, 10, identity),
        (50728, 5, [(1, 1)] * 3), (50778, 3, [21]),
    ]  # fmt: skip
    head = struct.pack("<2sHI", b"II", 42, main_at)
    return head + preview + data + raw_directory + _directory(main, main_at)


def _directory(fields: list[Field], at: int) -> bytes:
    out, extra = struct.pack("<H", len(fields)), b""
    base = at + 2 + 12 * len(fields) + 4
    for tag, kind, values in fields:
        raw, count = _packed(kind, values)
        if len(raw) <= 4:
            out += struct.pack("<HHI", tag, kind, count) + raw.ljust(4, b"\0")
        else:
            out += struct.pack("<HHII", tag, kind, count, base + len(extra))
            extra += raw + b"\0" * (len(raw) % 2)
    return out + struct.pack("<I", 0) + extra


def _packed(kind: int, values: object) -> tuple[bytes, int]:
    if isinstance(values, bytes):
        return values, len(values)
    assert isinstance(values, list)
    if kind in (5, 10):
        return b"".join(struct.pack("<ii", *v) for v in values), len(values)
    return b"".join(struct.pack(f"<{_FORMS[kind]}", v) for v in values), len(values)
