"""Cross-modal search over your own pictures and texts.

    from mmsearch import Engine, Query, Store, ingest, load_encoder, read

Names are imported when they are first used: `import mmsearch` costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmsearch.version import __version__

if TYPE_CHECKING:
    from index_store import Collection, Item, Store, Where
    from mmsearch.encoders import load_encoder, resolve_model
    from mmsearch.errors import MmsearchError
    from mmsearch.filters import parse_where
    from mmsearch.images import open_picture
    from mmsearch.ingestion import IngestReport, ingest
    from mmsearch.readers import read, roots
    from mmsearch.search import Engine
    from mmsearch.types import Encoder, Hit, Part, Picture, Query, Sample, Skipped

# Nothing leaves this machine unasked. ONNX Runtime from 1.29 on makes an id of it, to tell its
# maker what is run, unless this is set before its first import; Hugging Face's says who asks.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Collection": "index_store",
    "Encoder": "mmsearch.types",
    "Engine": "mmsearch.search",
    "Hit": "mmsearch.types",
    "IngestReport": "mmsearch.ingestion",
    "Item": "index_store",
    "MmsearchError": "mmsearch.errors",
    "Part": "mmsearch.types",
    "Picture": "mmsearch.types",
    "Query": "mmsearch.types",
    "Sample": "mmsearch.types",
    "Skipped": "mmsearch.types",
    "Store": "index_store",
    "Where": "index_store",
    "ingest": "mmsearch.ingestion",
    "load_encoder": "mmsearch.encoders",
    "open_picture": "mmsearch.images",
    "parse_where": "mmsearch.filters",
    "read": "mmsearch.readers",
    "resolve_model": "mmsearch.encoders",
    "roots": "mmsearch.readers",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmsearch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


__all__ = [
    "Collection", "Encoder", "Engine", "Hit", "IngestReport", "Item", "MmsearchError", "Part",
    "Picture", "Query", "Sample", "Skipped", "Store", "Where", "__version__", "ingest",
    "load_encoder", "open_picture", "parse_where", "read", "resolve_model", "roots",
]  # fmt: skip
