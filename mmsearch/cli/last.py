"""The hits of the last search of a collection, for `--within last` and `--like 3`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.types import Hit


def remember(store: Path, collection: str, hits: Sequence[Hit]) -> None:
    """Keep the keys of the hits, by rank; where the cache cannot be written, do nothing."""
    path = _path(store, collection)
    keys = [h.item.key for h in sorted(hits, key=lambda h: h.rank)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(keys), encoding="utf8")
        part.replace(path)
    except OSError:
        return


def recall(store: Path, collection: str) -> list[str]:
    """Return the keys of the last hits, best first; none if nothing was searched yet."""
    try:
        keys = json.loads(_path(store, collection).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return []
    return [k for k in keys if isinstance(k, str)] if isinstance(keys, list) else []


def _path(store: Path, collection: str) -> Path:
    from platformdirs import user_cache_path

    name = json.dumps([os.fspath(store.absolute()), collection]).encode("utf8", "surrogatepass")
    digest = hashlib.blake2b(name, digest_size=16).hexdigest()
    return user_cache_path("mmsearch", appauthor=False) / "last" / f"{digest}.json"
