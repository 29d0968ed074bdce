"""Stores of many random vectors, to search from a cold process: mmsearch's and rclip's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

DIM = 512
BLOCK = 10_000
# Run by rclip's Python: its own database class writes the rows.
FILL = """
import sys, numpy
from rclip.db import DB
rows = numpy.load(sys.argv[2], mmap_mode="r")
database = DB(sys.argv[1] + "/db.sqlite3")
for n, row in enumerate(rows):
    database.upsert_image({"filepath": f"{sys.argv[3]}/{n:07}.jpg", "modified_at": 0.0, "size": 1,
                           "vector": row.tobytes(), "hash": str(n)}, commit=False)
database.commit()
database.close()
"""


def unit_rows(n: int) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((n, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def mmsearch_store(folder: Path, n: int, model: str) -> Path:
    """Return a store of n vectors in the space of a model of 512 dimensions."""
    from index_store import Item, Store
    from mmsearch.encoders import load_encoder

    if not folder.exists():
        encoder = load_encoder(model)
        rows = unit_rows(n)
        with Store.open(folder, create=True) as store:
            collection = store.create_collection("default", encoder.space, model=model)
            for start in range(0, n, BLOCK):
                block = rows[start : start + BLOCK]
                names = [f"/pictures/{start + i:07}.jpg" for i in range(len(block))]
                items = [Item(name, uri=f"file://{name}", content=name) for name in names]
                collection.add(items, block)
            collection.build_index("image")
    return folder


def rclip_store(folder: Path, n: int, models: Path, python: str) -> Path:
    """Return a data folder of rclip's, with its models and n vectors of pictures in it."""
    if not folder.exists():
        shutil.copytree(models, folder, copy_function=os.link)
        vectors = folder / "rows.npy"
        np.save(vectors, unit_rows(n))
        (folder / "pictures").mkdir()
        place = str(folder / "pictures")
        subprocess.run([python, "-c", FILL, str(folder), str(vectors), place], check=True)
        vectors.unlink()
    return folder
