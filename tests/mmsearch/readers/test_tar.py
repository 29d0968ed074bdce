"""Tars of pictures: what is listed, what is refused, and what of a tar reaches a collection."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from index_store import Collection, Space, Store
from mmsearch import Encoder, ingest, read, roots
from mmsearch.errors import BadPicture, BadSource
from mmsearch.reindexing import reindex
from mmsearch.sources import open_source
from mmsearch.types import Sample, Skipped
from tests.mmsearch.conftest import paint

LONG = "x" * 180 + "/é 1.png"  # more than a plain header holds


def picture(tmp_path: Path, color: str) -> bytes:
    return paint(tmp_path / "made" / f"{color}.png", color).read_bytes()


def tar_of(path: Path, members: dict[str, bytes], **links: str) -> str:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(f"{name}.png")
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return str(path)


@pytest.fixture
def shard(tmp_path: Path) -> str:
    return tar_of(
        tmp_path / "shard.tar",
        {
            "0/a.png": picture(tmp_path, "red"),
            "0/a.txt": b"a red thing\n",
            "0/a.json": b'{"caption": "a red thing", "source": "web", "width": 9}',
            LONG: picture(tmp_path, "blue"),
            "0/notes.md": b"nothing",
        },
    )


def samples(path: str) -> list[Sample]:
    return [s for s in read(path) if isinstance(s, Sample)]


def reasons(path: str) -> list[str]:
    return [s.reason for s in read(path) if isinstance(s, Skipped)]


def test_members_of_one_name_are_one_sample(shard):
    red, blue = samples(shard)
    assert red.captions == ("a red thing",)
    assert red.item.key == f"{shard}#0/a.png"
    assert red.item.meta["source"] == "web"
    assert "width" not in red.item.meta
    assert (blue.captions, blue.item.meta["name"]) == ((), "é 1.png")


def test_a_member_is_read_again_by_its_uri_alone(shard, tmp_path):
    red, blue = samples(shard)
    assert open_source(red.item.uri) == picture(tmp_path, "red")
    assert open_source(blue.item.uri) == picture(tmp_path, "blue")


def test_a_tar_that_has_changed_is_noticed(shard, tmp_path):
    red, blue = samples(shard)
    tar_of(Path(shard), {"other.png": b"1", "0/a.png": picture(tmp_path, "red")})
    for old in (red, blue):
        with pytest.raises(BadPicture, match="changed"):
            open_source(old.item.uri)


def test_what_leads_out_of_a_tar_and_links_are_refused(tmp_path):
    names = ("/etc/a.png", "../b.png", "c/../../d.png")
    path = tar_of(tmp_path / "evil.tar", dict.fromkeys(names, b"x"), link="/etc/passwd")
    assert samples(path) == []
    assert reasons(path) == ["its name leads out of the tar"] * 3 + [
        "a link; links in a tar are not followed"
    ]


def test_a_huge_member_is_refused_without_reading_it(tmp_path):
    info = tarfile.TarInfo("a.png")
    info.size = 300 << 20
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(info.tobuf())
        file.truncate(512 + info.size + 1024)
    assert reasons(str(tmp_path / "a.tar")) == ["300 MB; the limit in a tar is 256 MB"]


def test_an_extended_header_that_claims_gigabytes_is_not_believed(tmp_path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3 << 30
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(info.tobuf())
        file.truncate(4 << 30)
    with pytest.raises(BadSource, match="claims to be huge"):
        list(read(str(tmp_path / "a.tar")))


@pytest.mark.parametrize("damage", ["cut", "header"])
def test_of_a_damaged_tar_what_comes_before_is_read(shard, damage):
    raw = bytearray(Path(shard).read_bytes())
    at = int(samples(shard)[1].item.uri.partition("&at=")[2].partition("&")[0])
    if damage == "cut":
        raw = raw[: at + 100]
    else:
        raw[at] ^= 255
    Path(shard).write_bytes(raw)
    assert [s.item.meta["name"] for s in samples(shard)] == ["a.png"]
    (reason,) = reasons(shard)
    assert reason.startswith("the tar is damaged or cut short after byte")


@pytest.mark.parametrize(("raw", "what"), [(b"hello" * 200, "no tar"), (b"\x1f\x8b8", "compres")])
def test_what_is_no_tar_says_so(tmp_path, raw, what):
    (tmp_path / "a.tar").write_bytes(raw)
    with pytest.raises(BadSource, match=what):
        list(read(str(tmp_path / "a.tar")))


def test_captions_that_are_no_longer_in_the_tar_go(
    shard: str, tmp_path: Path, encoder: Encoder, collection: Collection
) -> None:
    ingest(read(shard), encoder, collection)
    assert collection.count("text") == 1
    tar_of(Path(shard), {"0/a.png": picture(tmp_path, "red")})
    report = ingest(read(shard), encoder, collection)
    assert (report.reused, collection.count("text")) == (1, 0)


def test_a_tar_is_indexed_once(shard, encoder: Encoder, collection: Collection):
    report = ingest(read(shard), encoder, collection)
    assert (report.added, report.captions, report.skipped) == (2, 1, [])
    again = ingest(read(shard), encoder, collection)
    assert (again.added, again.unchanged) == (0, 2)
    os.utime(shard, ns=(1, 1))
    touched = ingest(read(shard), encoder, collection)
    assert (touched.updated, touched.reused) == (2, 2)


def test_a_run_over_the_folder_keeps_what_is_in_its_tars(shard, encoder, collection):
    ingest(read(shard), encoder, collection)
    folder = str(Path(shard).parent)
    ingest(read(folder), encoder, collection, roots=roots(folder), prune=True)
    assert f"{shard}#0/a.png" in set(collection.keys())
    Path(shard).unlink()
    ingest(read(folder), encoder, collection, roots=roots(folder), prune=True)
    assert f"{shard}#0/a.png" not in set(collection.keys())


def test_reindexing_reads_members(shard, encoder, collection, store: Store):
    ingest(read(shard), encoder, collection)
    before = encoder.space
    encoder.space = Space("other/1", before.dim)
    try:
        report = reindex(store, "default", encoder, "other")
    finally:
        encoder.space = before
    assert (report.switched, report.embedded, report.missing) == (True, 3, [])


def test_a_pattern_names_several_tars(shard):
    assert len(samples(str(Path(shard).parent / "*.tar"))) == 2
