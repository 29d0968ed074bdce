"""A store as Parquet files that any tool can read, and back: export and import.

DIR/manifest.json names every file with its BLAKE2b-256; a file holds up to 65,536 items with
their vectors as float32.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from index_store import Collection, Failure, Item, Space, Store
from index_store.copies import snapshot
from index_store.disk import make_folder, sync_data, sync_folder, write_error
from index_store.errors import TargetExists
from index_store.types import Vectors
from mmsearch.errors import BadSource, MissingExtra
from mmsearch.origins import read_origins, remember
from mmsearch.uris import path_of, uri_of
from mmsearch.version import __version__

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST, FORMAT = "manifest.json", "mmsearch-export/1"
FILE_ROWS, BATCH = 65_536, 4_096
TEXTS = ("key", "kind", "uri", "text", "stamp", "content")
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did to one collection."""

    collection: str
    added: int
    updated: int
    unchanged: int


def export(store: str | Path, target: str | Path, *, progress: Progress | None = None) -> int:
    """Write all collections of a store, as of one moment, to a new folder; return the items.

    Another process may write to the store meanwhile. Killed, it leaves no `target`, but
    perhaps a folder whose name ends in ".part".

    Args:
        progress: called with the number of items of each batch.

    Raises:
        MissingExtra: pyarrow is not installed.
        TargetExists: there is something at `target`.
        StoreNotFound, StoreCorrupt: of the store.
        StoreFull, WriteFailed, StoreReadOnly: `target` could not be written.
    """
    _parquet()
    target = Path(target).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise TargetExists(target)
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        make_folder(part)
        moment = part / "store"
        snapshot(store, moment)
        with Store.open(moment, readonly=True) as opened:
            names = opened.collections()
            known = read_origins(Path(store))
            found = [
                _export_one(opened.collection(n), part, i, progress)
                | {"folders": [uri_of(f) for f in known.of(n).folders]}
                for i, n in enumerate(names)
            ]
        shutil.rmtree(moment)
        manifest = {"format": FORMAT, "made_by": f"mmsearch {__version__}",
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "collections": found}  # fmt: skip
        _write_durable(part / MANIFEST, json.dumps(manifest, indent=1).encode())
        sync_folder(part)
        if target.exists():
            target.rmdir()
        part.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return sum(c["items"] for c in found)


def import_(
    source: str | Path, store: Store, *, only: Sequence[str] = (), progress: Progress | None = None
) -> list[ImportReport]:
    """Store what an export holds; return what was done to each collection.

    All hashes are compared first. Collections that are missing are made; items are inserted
    or replaced by key, and those that are there as they are in the export are left alone: run
    it again, it goes on.

    Args:
        store: open for writing.
        only: names of collections; default: all.
        progress: called with the number of items of each batch.

    Raises:
        MissingExtra: pyarrow is not installed.
        BadSource: no export, or its files are not those that were written. Nothing is changed.
        SpaceMismatch: a collection of that name holds vectors of another encoder.
        StoreFull, WriteFailed: what was stored before is kept.
    """
    _parquet()
    source = Path(source)
    collections = _checked(source, only)
    for c in collections:
        if c["name"] in store.collections():
            store.collection(c["name"]).check_space(_space(c))
    reports = [_import_one(source, c, store, progress) for c in collections]
    for c in collections:
        with suppress(OSError):  # a convenience: see `origins`
            remember(store.path, c["name"], folders=[path_of(f) for f in c.get("folders", ())])
    return reports


def items_in(source: str | Path, only: Sequence[str] = ()) -> int:
    """Return how many items an export holds. Raises as `import_`."""
    return sum(c["items"] for c in _manifest(Path(source), only))


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtra("exporting and importing Parquet", "parquet") from error
    return pyarrow.parquet


def _export_one(
    collection: Collection, folder: Path, number: int, progress: Progress | None
) -> dict[str, Any]:
    keys, files = collection.keys(), []
    for start in range(0, len(keys), FILE_ROWS):
        name = f"{number:03}-{start // FILE_ROWS:05}.parquet"
        chosen = keys[start : start + FILE_ROWS]
        with _parquet().ParquetWriter(
            folder / name, _schema(collection.space.dim), compression="zstd"
        ) as writer:
            for at in range(0, len(chosen), BATCH):
                some = chosen[at : at + BATCH]
                writer.write_table(_table(collection.get(some), collection.vectors(some)))
                if progress:
                    progress(len(some))
        with (folder / name).open("rb+") as file:
            sync_data(file.fileno())
        files.append({"name": name, "rows": len(chosen), "bytes": (folder / name).stat().st_size,
                      "blake2b": _hash(folder / name)})  # fmt: skip
    space = collection.space
    failures = [[f.key, f.uri, f.reason, f.stamp] for f in collection.failures()]
    return {"name": collection.name, "space": space.name, "dim": space.dim,
            "metric": space.metric, "model": collection.model, "items": len(keys),
            "files": files, "failures": failures}  # fmt: skip


def _schema(dim: int) -> pa.Schema:
    import pyarrow as pa

    fields = [pa.field(name, pa.string(), nullable=False) for name in (*TEXTS, "meta")]
    vector = pa.list_(pa.field("item", pa.float32(), nullable=False), dim)
    return pa.schema([*fields, pa.field("vector", vector, nullable=False)])


def _table(items: Sequence[Item], vectors: Vectors) -> pa.Table:
    import pyarrow as pa

    schema = _schema(vectors.shape[1])
    columns: list[Any] = [[getattr(i, name) for i in items] for name in TEXTS]
    columns.append([json.dumps(dict(i.meta), ensure_ascii=False) for i in items])
    arrays = [pa.array(c, pa.string()) for c in columns]
    flat = pa.array(vectors.reshape(-1), pa.float32())
    arrays.append(pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _import_one(
    source: Path, found: dict[str, Any], store: Store, progress: Progress | None
) -> ImportReport:
    name, space = found["name"], _space(found)
    if name in store.collections():
        collection = store.collection(name)
    else:
        collection = store.create_collection(name, space, model=found["model"])
    added = updated = unchanged = 0
    for file in found["files"]:
        for items, vectors in _rows(source / file["name"], space.dim):
            new = _changed(collection, items, vectors)
            report = collection.add([items[n] for n in new], vectors[new], space=space)
            added, updated = added + report.added, updated + report.updated
            unchanged += len(items) - len(new)
            if progress:
                progress(len(items))
    there = {f.key for f in collection.failures()}
    failures = [Failure(*f) for f in found["failures"]]
    stored = collection.stamps([f.key for f in failures])
    collection.add_failures([f for f in failures if f.key not in stored and f.key not in there])
    return ImportReport(name, added, updated, unchanged)


def _changed(collection: Collection, items: Sequence[Item], vectors: Vectors) -> list[int]:
    """Return the numbers of the items that are not there just so."""
    there = {i.key: i for i in collection.get([i.key for i in items])}
    same = [n for n, i in enumerate(items) if there.get(i.key) == i]
    stored = collection.vectors([items[n].key for n in same]).astype(np.float16)
    equal = np.all(stored == vectors[same].astype(np.float16), axis=1)
    kept = {n for n, eq in zip(same, equal, strict=True) if eq}
    return [n for n in range(len(items)) if n not in kept]


def _rows(path: Path, dim: int) -> Iterator[tuple[list[Item], Vectors]]:
    import pyarrow as pa

    try:
        with _parquet().ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                texts = [batch.column(name).to_pylist() for name in TEXTS]
                metas = [json.loads(m) for m in batch.column("meta").to_pylist()]
                flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
                vectors = flat.astype(np.float32).reshape(len(metas), dim)
                items = [Item(*row) for row in zip(*texts, metas, strict=True)]
                yield items, vectors
    except (pa.ArrowException, KeyError, ValueError, TypeError, OSError) as error:
        raise BadSource(f"{path} cannot be read as an exported file: {error}") from error


def _manifest(source: Path, only: Sequence[str]) -> list[dict[str, Any]]:
    """Return the collections that a manifest lists and that are wanted."""
    try:
        manifest = json.loads((source / MANIFEST).read_text(encoding="utf8"))
        form, found = manifest["format"], manifest["collections"]
        known = [str(c["name"]) for c in found]
        for c in found:
            _space(c), int(c["items"]), str(c["model"]), [Failure(*f) for f in c["failures"]]
            [path_of(f) for f in c.get("folders", ())]
            if any(Path(f["name"]).name != f["name"] or not f["blake2b"] for f in c["files"]):
                raise ValueError("a file name with a folder in it")
    except OSError as error:
        raise BadSource(f"no export in {source}: {MANIFEST}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BadSource(f"{source / MANIFEST} is no manifest of an export: {error}") from error
    if form != FORMAT:
        raise BadSource(f"{source} has format {form!r}, this version reads {FORMAT!r}")
    if missing := [n for n in only if n not in known]:
        raise BadSource(f"no collection {missing[0]!r} in {source}; it has: {', '.join(known)}")
    return [c for c in found if not only or c["name"] in only]


def _checked(source: Path, only: Sequence[str]) -> list[dict[str, Any]]:
    collections = _manifest(source, only)
    for file in (f for c in collections for f in c["files"]):
        path = source / file["name"]
        try:
            if _hash(path) != file["blake2b"]:
                raise BadSource(f"{path} is not the file that was exported: its hash differs")
        except OSError as error:
            raise BadSource(f"{path} cannot be read: {error.strerror}") from error
    return collections


def _space(found: dict[str, Any]) -> Space:
    return Space(str(found["space"]), int(found["dim"]), str(found["metric"]))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def _write_durable(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        sync_data(file.fileno())
