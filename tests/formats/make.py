"""Write the small store that stays checked in for the current format; run once a format.

python -m tests.formats.make tests/formats/v1
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from index_store import Failure, Item, Space, Store

AXES = np.eye(8, dtype=np.float32)


def make(path: Path) -> None:
    """Write a store with pictures, texts, a replaced and a deleted item, and a failure."""
    with Store.open(path, create=True) as store:
        c = store.create_collection("default", Space("test/1", 8), model="color")
        items = [
            Item(f"/p/{n}.jpg", "image", f"file:///p/{n}.jpg", "", f"1-{n}", f"c{n}", {"width": n})
            for n in range(6)
        ]
        c.add([*items, Item("/p/0.jpg#caption-0", "text", text="ein Bär")], AXES[:7])
        c.add([Item("/p/0.jpg", stamp="new", meta={"width": 9.5, "ok": True})], AXES[7:])
        c.delete(["/p/5.jpg"])
        c.add_failures([Failure("/p/bad.jpg", "file:///p/bad.jpg", "cut short", "1-1")])
        store.create_collection("empty", Space("test/2", 4), model="")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
