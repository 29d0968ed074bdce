"""Filters and order from the command line, on real pictures with true dates and places."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import shared_data
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint
from tests.mmsearch.test_xmp import keywords_xmp

PARIS = "exif_gps_date.jpg"  # the manifest: 48.858222, 2.2945, 2019-07-14T16:20:31
SEINE = "seine_sdr_gainmap_srgb_icc.avif"  # 48.822083, 2.398472, 2023-08-05T17:16:53
IPHONE = "apple_gainmap_old.jpg"  # an iPhone 13 mini, 2026-01-07
UNDATED = "la.png"


@pytest.fixture
def real(mmsearch: Mmsearch, tmp_path: Path) -> Mmsearch:
    """Four pictures of the messy set, one of them with a sidecar of keywords."""
    messy = shared_data("messy")
    folder = tmp_path / "real"
    folder.mkdir()
    suites = messy / "suites" / "libavif"
    for source in (messy / "generated" / PARIS, suites / SEINE, suites / IPHONE,
                   messy / "generated" / UNDATED):  # fmt: skip
        shutil.copy(source, folder)
    (folder / "la.xmp").write_bytes(keywords_xmp("Holiday", "grey"))
    assert mmsearch("index", folder, "--model", "color").code == 0
    return mmsearch


def found(mmsearch: Mmsearch, *args: str) -> list[str]:
    done = mmsearch("search", "a red thing", "--format", "paths", *args)
    assert done.code == (0 if done.out else 1)
    return [Path(line).name for line in done.out.splitlines()]


@pytest.mark.parametrize(
    ("args", "names"),
    [
        (["--since", "2019-07-14", "--until", "2019-07-14"], {PARIS}),
        (["--since", "2019-07-14T16:20:32", "--until", "2023"], {SEINE}),
        (["--until", "2019-07-14T16:20:31"], {PARIS}),
        (["--until", "2019-07-13"], set()),
        (["--since", "5 august 2023"], {SEINE, IPHONE}),
        (["--camera", "iphone"], {IPHONE}),
        (["--camera", "testcam", "--camera", "PIXEL"], {PARIS, SEINE}),
        (["--near", "48.858222,2.2945,0.01"], {PARIS}),  # the true place, within 10 m
        (["--near", "48.822083,2.398472,8.5"], {SEINE}),
        (["--near", "48.822083,2.398472,8.7"], {SEINE, PARIS}),  # 8.62 km away
        (["--tag", "holiday"], {UNDATED}),
        (["--tag", "holiday", "--tag", "Grey"], {UNDATED}),
        (["--tag", "holiday", "--tag", "beach"], set()),
        (["--where", "near(48.86, 2.29, 2) or keywords has GREY"], {PARIS, UNDATED}),
        (["--where", "taken = 2019"], {PARIS}),
        (["--where", "iso >= 50 and focal_mm < 5 and offset = '+02:00'"], {SEINE}),
    ],
)
def test_each_filter_finds_the_pictures_it_is_true_of(
    real: Mmsearch, args: list[str], names: set[str]
) -> None:
    assert set(found(real, *args)) == names


def test_sorted_by_date_the_newest_real_picture_comes_first(real: Mmsearch) -> None:
    assert found(real, "--sort", "date") == [IPHONE, SEINE, PARIS, UNDATED]
    assert found(real, "--sort", "name") == sorted([IPHONE, SEINE, PARIS, UNDATED])
    whole = json.loads(real("search", "a red thing", "--sort", "name", "--format", "json").out)
    assert sorted(h["rank"] for h in whole["hits"]) == [1, 2, 3, 4]


def test_date_words_in_the_question_are_told_and_can_be_words(real: Mmsearch) -> None:
    done = real("search", "a red thing in july 2019", "--format", "paths")
    assert [Path(line).name for line in done.out.splitlines()] == [PARIS]
    assert done.err.splitlines() == [
        "mmsearch: 'in july 2019': taken 2019-07-01 to 2019-07-31, looking for 'a red thing' "
        "(--no-parse: as words)",
        "mmsearch: 1 of 4 pictures do not say when they were taken; they are left out",
    ]
    again = real("search", "a red thing in july 2019", "--parse", "--format", "paths")
    assert (again.out, again.err) == (done.out, done.err)
    done = real("search", "a red thing in july 2019", "--no-parse", "--format", "paths")
    assert (len(done.out.splitlines()), done.err) == (4, "")


def test_a_batch_reads_dates_and_takes_the_same_filters(real: Mmsearch, tmp_path: Path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("red\nred in 2019\n")
    done = real(
        "batch", questions, "--near", "48.86,2.29,20", "--sort", "date", "--format", "paths"
    )
    assert [Path(line).name for line in done.out.splitlines()] == [SEINE, PARIS, PARIS]
    done = real("batch", questions, "--no-parse", "--camera", "pixel", "--format", "paths")
    assert [Path(line).name for line in done.out.splitlines()] == [SEINE, SEINE]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--since", "soon"], "'soon' is no date; as in 2019"),
        (["--near", "48.86"], "expected LAT,LON,KM"),
        (["--near", "95,2,1"], "latitude -90 to 90"),
        (["--where", "taken > soon"], "is no date"),
    ],
)
def test_a_wrong_filter_is_a_wrong_call(
    mmsearch: Mmsearch, tmp_path: Path, args: list[str], message: str
) -> None:
    done = mmsearch("search", "red", *args)
    assert done.code == 2
    assert message in done.err


def test_captions_are_searched_with_all_their_words(mmsearch: Mmsearch, tmp_path: Path) -> None:
    paint(tmp_path / "photos" / "red.png", "red")
    (tmp_path / "photos" / "red.txt").write_text("something red")
    mmsearch("index", tmp_path / "photos", "--model", "color")
    done = mmsearch("search", "red in 2019", "--kind", "text")
    assert (done.code, done.err) == (0, "")


def test_a_question_that_is_not_english_is_told_to_the_user(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mmsearch.cli.query_options import note_language
    from mmsearch.types import Part

    note_language("starter", [Part("hund"), Part("im Gebüsch")])
    assert "starter knows English only" in capsys.readouterr().err
    note_language("starter", [Part("two dogs - in the snow…"), Part(image="Gebüsch.jpg")])
    note_language("onnx:siglip", [Part("Gebüsch")])
    assert capsys.readouterr().err == ""


def test_a_cut_off_can_say_that_there_is_no_match(mmsearch: Mmsearch, tmp_path: Path) -> None:
    for name in ("red", "blue"):
        paint(tmp_path / "photos" / f"{name}.png", name)
    mmsearch("index", tmp_path / "photos", "--model", "color")
    done = mmsearch("search", "red", "--min-score", "0.9", "--format", "paths")
    assert (done.code, [Path(line).name for line in done.out.splitlines()]) == (0, ["red.png"])
    done = mmsearch("search", "red", "--min-score", "1.5")
    assert (done.code, done.out) == (1, "")
    assert done.err == "mmsearch: no match: nothing scores 1.5 or more\n"
    for wrong in ("high", "nan"):
        done = mmsearch("search", "red", "--min-score", wrong)
        assert (done.code, "expected a number or auto" in done.err) == (2, True)
    questions = tmp_path / "questions.txt"
    questions.write_text(f"red\n{tmp_path / 'photos' / 'red.png'}\n")
    assert mmsearch("batch", questions, "--min-score", "auto").code == 0
