"""What a model is, told by its bytes: the hash in the name of its space.

Vectors of different weights cannot be compared, whatever the model is called, so a space is named
after a hash of everything in the model that changes its vectors. Reading a gigabyte for that at
each start would cost more than the query: the result is kept in the user's cache folder, keyed by
the files' paths, sizes and times.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mmsearch.encoders import cache

HASH_LENGTH = 12  # hex digits: 48 bits, enough to tell apart the models of one machine

# Beside an ONNX model these are no weights: documentation, other engines' formats, vocabularies
# that tokenizer.json repeats. Whether they were copied along must not change the hash.
_NOT_WEIGHTS = {".json", ".txt", ".md", ".armnn", ".rknn", ".model", ".spm", ".bpe", ".lock"}
_ALWAYS = ("visual/preprocess_cfg.json", "textual/tokenizer.json")


def bundle_files(folder: Path) -> list[Path]:
    """Return the files of an ONNX bundle that its hash covers, sorted.

    All that changes its vectors: both models, the weights that lie in files of their own beside
    them, the tokenizer and the preprocessing; not config.json, which holds the hash.
    """
    beside = [p for tower in ("visual", "textual") for p in (folder / tower).glob("*")]
    weights = [
        p
        for p in beside
        if p.is_file() and p.suffix not in _NOT_WEIGHTS and not p.name.startswith(".")
    ]
    return sorted({*weights, *(folder / name for name in _ALWAYS)})


def bundle_hash(folder: Path) -> str:
    """Return the hash of an ONNX bundle, read in full: what its `weights_hash` must be.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    return hash_files(bundle_files(folder), root=folder)


def hash_files(files: Iterable[Path], *, root: Path) -> str:
    """Return 12 hex digits over names (relative to `root`, with /), sizes and bytes."""
    digest = hashlib.blake2b(digest_size=32)
    for path in files:
        _feed(digest, path.relative_to(root).as_posix(), path.stat().st_size)
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()[:HASH_LENGTH]


def hash_tensors(state: dict[str, Any]) -> str:
    """Return 12 hex digits over the names, types, shapes and bytes of a torch state_dict.

    The order of the entries and the device don't matter.
    """
    import torch

    digest = hashlib.blake2b(digest_size=32)
    for name in sorted(state):
        tensor = state[name].detach().to("cpu").contiguous()
        _feed(digest, name, str(tensor.dtype), list(tensor.shape))
        # As bytes, because numpy has no bfloat16.
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()[:HASH_LENGTH]


def remembered(files: Sequence[Path], compute: Callable[[], str], *, salt: str = "") -> str:
    """Return `compute()`, or what it gave last time for the very same files.

    Args:
        files: what the result depends on; known again by resolved path, size and time in ns.
        compute: the slow way.
        salt: what else it depends on, an architecture's name for one.

    Raises:
        OSError: a file is not there. Trouble with the cache itself is no error.
    """
    identity = cache.identity(files, salt=salt)
    entry = cache.entry("weights", identity, ".json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(entry.read_text(encoding="utf-8"))["hash"]
        if isinstance(known, str) and len(known) == HASH_LENGTH:
            return known
    value = compute()
    with contextlib.suppress(OSError):
        cache.write(entry, json.dumps({"hash": value, "of": identity}).encode())
    return value


def _feed(digest: hashlib.blake2b, *parts: object) -> None:
    # JSON ends each header where it ends: "ab", 1 and "a", "b1" must not hash alike.
    digest.update(json.dumps(parts).encode())
