"""The command line, run in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from index_store import Store
from mmsearch import ingest, load_encoder, read
from mmsearch.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Mmsearch = Callable[..., Outcome]


@pytest.fixture
def mmsearch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Mmsearch:
    """Call the command line with an empty configuration and a store of its own."""
    monkeypatch.setenv("MMSEARCH_HOME", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for name in ("MMSEARCH_MODEL", "MMSEARCH_COLLECTION", "MMSEARCH_THREADS", "MMSEARCH_DAEMON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def call(*args: str | Path) -> Outcome:
        capsysbinary.readouterr()
        with pytest.raises(SystemExit) as done:
            main([str(a) for a in args])
        captured = capsysbinary.readouterr()
        assert isinstance(done.value.code, int)
        out = captured.out.decode("utf8", "surrogateescape")
        return Outcome(done.value.code, out, captured.err.decode())

    return call


@pytest.fixture
def indexed(mmsearch: Mmsearch, photos: Path) -> Mmsearch:
    (photos / "red.txt").write_text("something red")
    assert mmsearch("index", photos, "--model", "color").code == 0
    return mmsearch


def real_photos() -> list[Path]:
    """Return the paths of fourteen free photographs."""
    from mmsearch.photos import PHOTOS, photos_folder

    return [photos_folder() / name for name in PHOTOS]


@pytest.fixture(scope="session")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fourteen photographs in the space of the model that ships."""
    pytest.importorskip("skimage")
    folder = tmp_path_factory.mktemp("real") / "store"
    encoder = load_encoder("starter", threads=1)
    with Store.open(folder, create=True) as store:
        collection = store.create_collection("default", encoder.space, model="starter")
        ingest((s for p in real_photos() for s in read(str(p))), encoder, collection, threads=1)
    return folder


@pytest.fixture
def real(mmsearch: Mmsearch, real_store: Path, monkeypatch: pytest.MonkeyPatch) -> Mmsearch:
    monkeypatch.setenv("MMSEARCH_HOME", str(real_store))
    monkeypatch.setenv("MMSEARCH_THREADS", "1")
    return mmsearch
