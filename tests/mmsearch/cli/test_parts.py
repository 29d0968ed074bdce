"""Composed questions from the command line, on real photographs with the shipped model."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.mmsearch.cli.conftest import Mmsearch, real_photos


def photo(name: str) -> Path:
    return next(p for p in real_photos() if p.stem == name)


def found(out: str) -> list[str]:
    return [Path(line).stem for line in out.splitlines()]


def test_a_text_with_a_picture_and_what_is_not_wanted(real: Mmsearch, tmp_path: Path) -> None:
    with Image.open(photo("chelsea")) as cat:
        cat.crop((50, 20, 350, 280)).save(tmp_path / "cat.png")
    done = real("search", "a cup of coffee", "--image", "cat.png", "--format", "paths", "-n", "2")
    assert (done.code, set(found(done.out))) == (0, {"coffee", "chelsea"})
    done = real("search", "a cup of coffee", "--image", "cat.png", "--weight", "image=0.1",
                "--format", "paths", "-n", "1")  # fmt: skip
    assert found(done.out) == ["coffee"]
    done = real("search", "a cup of coffee", "--image", "cat.png", "--not", "coffee",
                "--weight", "not=2", "--format", "paths", "-n", "1")  # fmt: skip
    assert found(done.out) == ["chelsea"]


def test_explain_shows_what_each_part_adds(real: Mmsearch) -> None:
    done = real("search", "a cat", "--not", "a motorbike", "--explain", "-n", "2")
    assert re.search(r"\[text -?\d\.\d{3}, not -?\d\.\d{3}\]", done.out.splitlines()[0])
    whole = json.loads(
        real("search", "a cat", "--not", "a motorbike", "--explain", "--format", "json").out
    )
    hit = whole["hits"][0]
    assert hit["score"] == pytest.approx(sum(hit["parts"].values()), abs=1e-5)
    assert whole["query"]["parts"] == [
        {"text": "a motorbike", "image": None, "key": None, "weight": -0.5}
    ]


def test_a_sum_is_told_and_can_be_words(real: Mmsearch) -> None:
    done = real("search", "a cat + a cup of coffee - stars", "--format", "paths", "-n", "2")
    assert set(found(done.out)) == {"coffee", "chelsea"}
    assert done.err == (
        "mmsearch: a sum: + 'a cat' + 'a cup of coffee' - 'stars' (--no-parse: as words)\n"
    )
    assert real("search", "a cat + coffee", "--no-parse").err == ""
    assert real("search", "a cat - coffee").err == ""  # a dash alone is none


def test_terms_of_a_sum_have_weights_of_their_own(real: Mmsearch) -> None:
    coffee, cat = photo("coffee"), photo("chelsea")
    done = real("search", f"3:{cat} + {coffee} - .5: stars", "--format", "paths", "-n", "1")
    assert (done.code, found(done.out)) == (0, ["chelsea"])
    assert done.err == (
        f"mmsearch: a sum: + 3 x '{cat}' + '{coffee}' - 0.5 x 'stars' (--no-parse: as words)\n"
    )
    done = real("search", f"{cat} + 3:{coffee} - .5: stars", "--format", "paths", "-n", "1")
    assert found(done.out) == ["coffee"]
    done = real("search", f"3:id:{photo('chelsea')} + coffee", "--format", "paths", "-n", "14")
    assert "chelsea" not in found(done.out)
    whole = real("search", "a cat + 2:coins - .5:stars", "--weight", "text=2", "--explain",
                 "--format", "json").out  # fmt: skip
    assert [p["weight"] for p in json.loads(whole)["query"]["parts"]] == [4, -1]


def test_weighed_terms_are_summed_as_told(real: Mmsearch) -> None:
    def score(query: str, part: str) -> dict[str, float]:
        out = real("search", query, "-n", "14", "--explain", "--format", "json").out
        return {h["key"]: h["parts"][part] for h in json.loads(out)["hits"]}

    once, thrice = score("a cat + coins", "text"), score("3:a cat + coins", "text")
    assert thrice == pytest.approx({k: 3 * v for k, v in once.items()}, abs=1e-5)


def test_options_take_the_same_weights(real: Mmsearch, tmp_path: Path) -> None:
    with Image.open(photo("chelsea")) as cat:
        cat.crop((50, 20, 350, 280)).save(tmp_path / "cat.png")
    first = ("--format", "paths", "-n", "1")
    both = ("search", "a cup of coffee", "--image")
    assert found(real(*both, "0.1:cat.png", *first).out) == ["coffee"]
    assert found(real(*both, "9:cat.png", "--weight", "image=0.1", *first).out) == ["chelsea"]
    assert found(real(*both, "cat.png", "--not", "2:coffee", *first).out) == ["chelsea"]
    done = real("search", "9:a cup of coffee", "--image", "cat.png", *first)
    assert found(done.out) == ["coffee"]
    assert done.err == "mmsearch: a sum: + 9 x 'a cup of coffee' (--no-parse: as words)\n"


def test_what_looks_like_a_weight_may_be_a_time_or_a_file(
    indexed: Mmsearch, photos: Path, tmp_path: Path
) -> None:
    def parts(*args: str) -> list[str]:
        query = json.loads(indexed("search", *args, "--format", "json").out)["query"]
        return [query["text"], *(p["text"] for p in query.get("parts", []))]

    assert parts("red at 2:30 + 16:9") == ["red at 2:30", "16:9"]
    assert parts("2001: a red car") == ["2001: a red car"]  # one term: nothing to weigh
    assert parts("2001: red + blue", "--no-parse") == ["2001: red + blue"]
    assert parts("red", "--not", "2001: blue", "--no-parse") == ["red", "2001: blue"]
    if os.name != "nt":
        Path("2:x.png").write_bytes(png("blue"))
        done = indexed("search", "red", "--image", "2:x.png", "--weight", "image=9", "-n", "1")
        assert "blue.png" in done.out


def test_a_stored_item_finds_its_like_and_not_itself(real: Mmsearch) -> None:
    done = real("search", f"id:{photo('gravel')}", "--format", "paths")
    assert "gravel" not in found(done.out)
    assert len(found(done.out)) == 10
    done = real("search", "id:/no/such.png")
    assert (done.code, done.err) == (2, "mmsearch: the collection has no item /no/such.png\n")


def test_hits_of_the_last_search_are_liked_unliked_and_searched_again(real: Mmsearch) -> None:
    last = found(real("search", "a cat", "--format", "paths", "-n", "5").out)
    again = found(real("search", "the moon", "--within", "last", "--format", "paths").out)
    assert set(again) == set(last)
    assert again != last
    moon = again.index("moon") + 1 if "moon" in again else 1
    liked = found(real("search", "--like", str(moon), "--format", "paths").out)
    assert again[moon - 1] not in liked
    key = str(photo("grass"))
    plain = real("search", "stones", "--format", "json", "-n", "14").out
    unlike = real("search", "stones", "--unlike", key, "--format", "json", "-n", "14").out
    ranks = [[Path(h["key"]).stem for h in json.loads(o)["hits"]] for o in (plain, unlike)]
    assert "grass" in ranks[0]
    assert "grass" not in ranks[1]
    assert ranks[0].index("brick") < len(ranks[1])


def test_numbers_of_hits_that_there_were_not_are_refused(indexed: Mmsearch) -> None:
    done = indexed("search", "red", "--within", "last")
    assert (done.code, "found nothing" in done.err) == (2, True)
    assert indexed("search", "red").code == 0
    done = indexed("search", "--like", "9")
    assert (done.code, done.err) == (
        2, "mmsearch: there is no hit 9: the last search of this collection had 3\n",
    )  # fmt: skip


def png(color: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20), color).save(out, "PNG")
    return out.getvalue()


def test_a_picture_from_standard_input(indexed: Mmsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(png("blue"))))
    assert found(indexed("search", "-", "--format", "paths", "-n", "1").out) == ["blue"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no picture")))
    done = indexed("search", "-")
    assert (done.code, "cannot search by standard input" in done.err) == (2, True)


@pytest.mark.skipif(sys.platform != "linux", reason="the clipboard of other systems is no program")
def test_a_picture_from_the_clipboard(
    indexed: Mmsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a program in xclip's place that gives what xclip gives; the real one needs a screen."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "picture.png").write_bytes(png("red"))
    xclip = tools / "xclip"
    xclip.write_text(f"#!/bin/sh\ncat {tools / 'picture.png'}\n")
    xclip.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("XDG_SESSION_TYPE", "x11")
    assert found(indexed("search", "clipboard:", "--format", "paths", "-n", "1").out) == ["red"]
    xclip.write_text("#!/bin/sh\nexit 1\n")
    assert indexed("search", "clipboard:").code == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "say what to look for"),
        (["red", "--image", "gone.jpg"], "there is no such file"),
        (["red", "--weight", "picture=2"], "expected NAME=W"),
        (["red", "--weight", "image"], "expected NAME=W"),
        (["http://127.0.0.1/a.png"], "127.0.0.1 is not a public address"),
        (["red", "--not", "http://localhost/a.png"], "is not a public address"),
        (["red", "--not", "red", "--weight", "not=1"], "cancel out"),
        (["red", "--not", "1:red"], "cancel out"),
        (["red + 0:blue"], "0:blue: 0 is no weight; as in 0.5:WORDS, above 0 and below 1000"),
        (["red + green - -2:blue"], "-2 is no weight"),
        (["red + 1,5:blue"], "1,5 is no weight"),
        (["2001: red + blue"], "2001 is no weight"),
        (["red + 2:"], "2:: the weight has nothing after it"),
        (["red", "--image", "2:gone.jpg"], "--image 2:gone.jpg: there is no such file"),
    ],
)
def test_a_wrong_question_is_one_clear_line(
    indexed: Mmsearch, args: list[str], message: str
) -> None:
    done = indexed("search", *args)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert "Traceback" not in done.err


def test_lines_of_a_batch_are_questions_too(indexed: Mmsearch, photos: Path) -> None:
    Path("lines.txt").write_text(f"id:{photos / 'red.png'}\nred\nred - 2:blue + 0.1:green\n")
    answers = [json.loads(a) for a in indexed("batch", "lines.txt").out.splitlines()]
    assert len(answers[0]["hits"]) == 2
    assert len(answers[1]["hits"]) == 3
    assert Path(answers[2]["hits"][0]["path"]).stem == "red"
    assert [p["weight"] for p in answers[2]["query"]["parts"]] == [-2, 0.1]
    answers = indexed("batch", "lines.txt", "--no-parse").out.splitlines()
    assert json.loads(answers[2])["query"]["text"] == "red - 2:blue + 0.1:green"


def test_a_sum_says_which_term_is_a_stored_item(indexed: Mmsearch, photos: Path) -> None:
    done = indexed("search", f"id:{photos / 'red.png'} + green")
    assert f"a sum: + 'id:{photos / 'red.png'}' + 'green'" in done.err
