"""Pictures inside a tar are measured like any others."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from mmsearch import load_encoder
from mmsearch.evaluation import evaluate_pairs, read_pairs
from tests.mmsearch.conftest import paint


def test_pairs_in_a_tar_are_evaluated(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for n, color in enumerate(("red", "green", "blue")):
            data = paint(tmp_path / f"{color}.png", color).read_bytes()
            for name, content in ((f"{n}.png", data), (f"{n}.txt", f"a {color} thing".encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    pairs = read_pairs(str(tmp_path / "shard.tar"))
    result, _ = evaluate_pairs(pairs, load_encoder("color"), "color")
    assert [d.figures["R@1"] for d in result.directions.values()] == [100.0, 100.0]
