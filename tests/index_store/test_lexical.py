"""The words of items: found, kept up with commits, built anew when damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from index_store import Collection, Item, Space, Store
from index_store.lexical import Words
from index_store.rows import CHUNK

SPACE = Space("words/1", 4)


def words(item: Item) -> Words:
    picture = item.key if item.kind == "image" else str(item.meta.get("picture", ""))
    return Words({"name": item.key, "text": item.text}, picture)


def add(collection: Collection, *items: Item) -> None:
    collection.add(items, np.eye(4, dtype=np.float32)[np.arange(len(items)) % 4])


@pytest.fixture
def pictures(tmp_path: Path) -> Collection:
    store = Store.open(tmp_path / "store", create=True)
    collection = store.create_collection("default", SPACE)
    add(collection, Item("beach"), Item("barn"), Item("cap", "text", text="Two dogs at the café",
        meta={"picture": "barn"}), Item("note", "text", text="dogs"))  # fmt: skip
    return collection


def found(collection: Collection, text: str, kind: str = "image") -> list[str]:
    lexicon = collection.lexicon(words, "1")
    try:
        return [f.key for f in lexicon.search(text, 10, kind=kind)]  # type: ignore[arg-type]
    finally:
        lexicon.close()


def test_a_picture_is_found_by_its_name_and_its_captions(pictures: Collection) -> None:
    assert found(pictures, "a beach") == ["beach"]
    assert found(pictures, "the dog") == ["barn"]  # in any form, by its caption
    assert found(pictures, "CAFE") == ["barn"]  # and without accents
    assert set(found(pictures, "dog", "text")) == {"cap", "note"}
    assert found(pictures, "giraffe") == []
    assert found(pictures, "?!") == []


def test_reading_tells_how_far_it_is(pictures: Collection) -> None:
    told: list[tuple[int, int]] = []
    lexicon = pictures.lexicon(words, "1", progress=lambda *now: told.append(now))
    lexicon.search("beach", 5)
    assert told == [(4, 4)]
    lexicon.search("barn", 5)
    assert told == [(4, 4)]  # nothing is new
    add(pictures, *(Item(f"zebra {n}") for n in range(2 * CHUNK)))
    assert len(lexicon.search("zebra", 5)) == 5
    lexicon.close()
    assert [total for _, total in told[1:]] == [2 * CHUNK] * (len(told) - 1)
    done = [done for done, _ in told[1:]]
    assert done == sorted(done)
    assert done[-1] == 2 * CHUNK
    assert len(done) > 1


@pytest.mark.parametrize("text", ['"', "a AND", "name:x", "x*", "NEAR(a b)", "(", "-"])
def test_no_question_is_a_syntax_error(pictures: Collection, text: str) -> None:
    assert found(pictures, text + " beach") == ["beach"]


def test_every_commit_is_seen(pictures: Collection) -> None:
    lexicon = pictures.lexicon(words, "1")
    assert [f.key for f in lexicon.search("giraffe", 5)] == []
    add(pictures, Item("giraffe"))
    assert [f.key for f in lexicon.search("giraffe", 5)] == ["giraffe"]
    add(pictures, Item("cap", "text", text="a giraffe", meta={"picture": "barn"}))
    assert {f.key for f in lexicon.search("giraffe", 5)} == {"giraffe", "barn"}
    assert [f.key for f in lexicon.search("dogs", 5)] == []
    pictures.delete(["giraffe"])
    assert [f.key for f in lexicon.search("giraffe", 5)] == ["barn"]
    lexicon.close()


def test_another_recipe_builds_the_words_anew(pictures: Collection) -> None:
    assert found(pictures, "beach") == ["beach"]
    other = pictures.lexicon(lambda item: Words({"name": "sheep"}, item.key), "2")
    assert len(other.search("sheep", 10)) == 4
    other.close()


@pytest.mark.parametrize("damage", ["garbage", "page", "schema", "gone"])
def test_a_damaged_file_is_built_anew_and_verify_tells(pictures: Collection, damage: str) -> None:
    assert found(pictures, "beach") == ["beach"]
    (path,) = (pictures._path / "lex").glob("*.db")
    with sqlite3.connect(path) as own:
        own.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    own.close()
    size = path.stat().st_size
    if damage == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif damage == "page":
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))
    elif damage == "schema":  # SQLite's message quotes it, and is no UTF-8 then
        with sqlite3.connect(path) as own:
            own.execute("PRAGMA writable_schema = ON")
            own.execute("UPDATE sqlite_master SET name = CAST(x'ff' AS TEXT), sql = 'x'")
        own.close()
    else:
        path.unlink()
    with Store.open(pictures._path, readonly=True) as store:
        problems = store.verify()
    assert bool(problems) == (damage != "gone")
    assert all("builds it anew" in p.what for p in problems)
    assert found(pictures, "beach") == ["beach"]
    with Store.open(pictures._path, readonly=True) as store:
        assert store.verify() == []


def test_where_nothing_can_be_written_the_words_are_in_memory(
    pictures: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures._path / "lex").write_text("in the way")
    assert found(pictures, "beach") == ["beach"]


def test_words_of_a_collection_that_is_gone_go_too(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", create=True) as store:
        for name in ("a", "b"):
            add(store.create_collection(name, SPACE), Item("beach"))
            assert found(store.collection(name), "beach") == ["beach"]
        store.drop_collection("a")
    assert [p.name for p in sorted((tmp_path / "store" / "lex").glob("*.db"))] == ["c2.db"]


@pytest.mark.parametrize(("stored", "asked", "other"), [
    ("東京の夜景と黒い猫", "黒い猫", "白い犬"),  # Japanese
    ("一只黑猫坐在窗台上", "黑猫", "白狗"),  # Chinese
    ("강아지가 공원에서 달린다", "강아지", "고양이"),  # Korean: particles are joined to the word
    ("แมวดำนอนบนโซฟา", "แมวดำ", "สุนัข"),  # Thai
    ("एक कुत्ता दौड़ रहा है", "कुत्ता", "बिल्ली"),  # Hindi: vowel signs are part of the word
    ("كَلْبٌ أَسْوَد", "كلب", "قطة"),  # Arabic, with and without its vowel points
    ("ein Hund über der Straße", "u\u0308ber", "unter"),  # decomposed, as macOS has names
    ("カﾞラス ＡＢＣ", "ガラス abc", "xyz"),  # half and full width
])  # fmt: skip
def test_words_of_many_scripts(
    pictures: Collection, stored: str, asked: str, other: str
) -> None:  # fmt: skip
    add(pictures, Item("one", "text", text=stored), Item("two", "text", text=other))
    assert found(pictures, asked, "text") == ["one"]
    assert found(pictures, other, "text") == ["two"]


def test_a_letter_alone_and_a_part_of_a_run(pictures: Collection) -> None:
    add(pictures, Item("one", "text", text="夜の猫"), Item("two", "text", text="猫の夜"))
    assert set(found(pictures, "猫", "text")) == {"one", "two"}
    assert found(pictures, "夜の", "text") == ["one"]  # in this order
    assert set(found(pictures, "夜の猫が走る", "text")) == {"one"}


def test_a_name_with_a_line_below_is_one_phrase(pictures: Collection) -> None:
    add(pictures, Item("one", "text", text="IMG_2041"), Item("two", "text", text="img 7 of 2041"))
    assert found(pictures, "img_2041", "text") == ["one"]


def test_the_share_is_of_all_that_is_asked(pictures: Collection) -> None:
    add(pictures, Item("x", "text", text="red apple"), Item("y", "text", text="green apple tree"))
    lexicon = pictures.lexicon(words, "1")
    (one,) = lexicon.search("red", 5, kind="text")
    assert 0.8 < one.share < 1.5
    both = {f.key: f for f in lexicon.search("red apple", 5, kind="text")}
    assert both["x"].share == pytest.approx(one.share, rel=0.2)
    assert both["y"].share < 0.6 * both["x"].share
    assert lexicon.search("red giraffe", 5, kind="text")[0].share < 0.6 * one.share
    assert both["x"].score > both["y"].score


def test_the_texts_of_pictures(pictures: Collection) -> None:
    add(pictures, Item("more", "text", text="hay", meta={"picture": "barn"}))
    lexicon = pictures.lexicon(words, "1")
    assert lexicon.texts_of(["beach", "barn", "no such"]) == {"barn": ["cap", "more"]}
    pictures.delete(["cap"])
    assert lexicon.texts_of(["barn"]) == {"barn": ["more"]}
    assert lexicon.texts_of([]) == {}


@pytest.mark.parametrize(
    ("stored", "asked"),
    [("Hauptstraße", "HAUPTSTRASSE"), ("GROSSE STRASSE", "straße"), ("ᲥᲐᲠᲗᲣᲚᲘ", "ქართული"),
     ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("İstanbul", "istanbul")],
)  # fmt: skip
def test_capitals_and_small_letters_are_one_word(
    pictures: Collection, stored: str, asked: str
) -> None:
    add(pictures, Item("new", text=stored))
    assert found(pictures, asked) == ["new"]
    assert found(pictures, asked.upper()) == ["new"]


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="uses Linux users")
def test_a_sound_file_in_a_folder_that_cannot_be_written_is_no_damage(
    pictures: Collection, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    assert found(pictures, "beach") == ["beach"]
    with tempfile.TemporaryDirectory() as folder:  # pytest's tmp_path is closed to other users
        Path(folder).chmod(0o755)
        store = shutil.copytree(pictures._path, Path(folder) / "s")
        script = (
            "import os, sys, filelock, numpy; from index_store import Store, lexical, verify\n"
            "os.setuid(65534)\n"
            "print(len(Store.open(sys.argv[1], readonly=True).verify()))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(store)], capture_output=True, text=True, check=False
        )
    assert done.stdout == "0\n", done.stderr
