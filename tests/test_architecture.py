"""The arrows between the packages, and the size of what is in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("mmsearch/**/*.py"), *ROOT.glob("index_store/**/*.py")])

# Layers of mmsearch, highest first; a module imports only from lower ones, or its own.
LAYERS: list[set[str]] = [
    {"cli", "web", "mcp", "__main__"},
    {"dialogue"},
    {"repairing", "organise", "answering", "explaining", "hybrid", "ocr"},
    {"ingestion", "reindexing", "search", "reranking", "evaluation", "train", "models",
     "moving", "transfer", "torch_scan", "query_texts", "caption_scores",
     "watching", "pruning", "planning", "daemon", "detecting"},
    {"encoders", "rerankers", "readers"},
    {"images", "pixels", "exif", "preprocess", "pipeline", "filters", "metrics", "answer_metrics",
     "caption_metrics", "wordnet", "sources", "stamps",
     "cells", "thumbnails", "metadata", "xmp", "asking", "dates", "ordering",
     "frames", "archives", "isolation", "composing", "cutoff", "fetching", "hubness", "stored_rows",
     "regions", "region_files"},
    {"registry", "uris", "cores", "files", "photos", "origins"},
    {"types"},
    {"errors", "version"},
]  # fmt: skip


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(module: str) -> int | None:
    part = module.split(".")[1] if "." in module else ""
    return next((n for n, names in enumerate(LAYERS) if part in names), None)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_downwards_only(path: Path) -> None:
    mine = name_of(path)
    for other in imports(path):
        if mine.startswith("index_store"):
            assert other.split(".")[0] not in {"mmsearch", "torch", "PIL", "click"}, other
        if other == "faiss":
            assert mine == "index_store.ann"
        if mine.startswith("mmsearch.") and other.startswith("mmsearch."):
            here, there = layer(mine), layer(other)
            if here is not None and there is not None:
                assert here <= there, f"{mine} imports {other}"


def test_every_module_of_mmsearch_has_a_layer() -> None:
    known = set().union(*LAYERS)
    for path in FILES:
        parts = name_of(path).split(".")
        if parts[0] == "mmsearch" and parts[1] != "__init__":
            assert parts[1] in known, f"{name_of(path)}: add it to LAYERS and docs/architecture.md"


@pytest.mark.parametrize(
    ("plugins", "others"),
    [("encoders", {"readers", "rerankers"}), ("readers", {"encoders", "rerankers"})],
)
def test_plug_ins_do_not_know_one_another(plugins: str, others: set[str]) -> None:
    for path in FILES:
        if name_of(path).startswith(f"mmsearch.{plugins}."):
            used = {o.split(".")[1] for o in imports(path) if o.startswith("mmsearch.")}
            assert not used & others, path


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            size = (node.end_lineno or 0) - node.lineno + 1
            assert size <= 70, f"{node.name} has {size} lines"
