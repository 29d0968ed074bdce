"""--exclude and .mmsearchignore: gitignore's rules for folders of pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch import read
from mmsearch.errors import BadSource
from mmsearch.readers.folder import read_folder
from mmsearch.types import Sample, Skipped


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def names(root: Path, **options) -> list[str]:
    found = read_folder(str(root), **options)
    return [Path(s.path).relative_to(root.resolve()).as_posix() for s in found if type(s) is Sample]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return touch(tmp_path / "album", "a.jpg", "b.png", "raw/c.jpg", "sub/d.png", "sub/raw/e.jpg")


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["*.png"], ["a.jpg", "raw/c.jpg", "sub/raw/e.jpg"]),
        (["raw/"], ["a.jpg", "b.png", "sub/d.png"]),
        (["/raw"], ["a.jpg", "b.png", "sub/d.png", "sub/raw/e.jpg"]),
        (["sub/*", "!sub/d.png"], ["a.jpg", "b.png", "raw/c.jpg", "sub/d.png"]),
        (["sub/**/e.jpg", "a.???"], ["b.png", "raw/c.jpg", "sub/d.png"]),
    ],
)
def test_patterns_leave_out_what_git_would_ignore(album, patterns, left):
    assert names(album, exclude=patterns) == left


def test_a_file_of_rules_holds_for_its_folder_and_an_inner_one_may_take_back(album):
    (album / ".mmsearchignore").write_text("# no raw pictures\n*.png\nraw/\n")
    assert names(album) == ["a.jpg"]
    (album / "sub" / ".mmsearchignore").write_text("!d.png\n")
    assert names(album) == ["a.jpg", "sub/d.png"]
    assert names(album, exclude=["d.png"]) == ["a.jpg"]  # the command line has the last word


def test_the_rules_of_the_whole_hold_for_a_part(album):
    (album / ".mmsearchignore").write_text("*.png\n/raw\n")
    assert names(album, within=str(album / "sub")) == ["sub/raw/e.jpg"]
    assert names(album, within=str(album / "raw")) == []
    assert names(album, within=str(album / "gone")) == []


def test_a_pattern_that_is_none_is_refused_or_reported(album):
    with pytest.raises(BadSource, match="--exclude: ! is no pattern"):
        list(read(str(album), exclude=["!"]))
    (album / ".mmsearchignore").write_text("!\n")
    (trouble,) = [s for s in read_folder(str(album)) if isinstance(s, Skipped)]
    assert (Path(trouble.key).name, "nothing is left out" in trouble.reason) == (
        ".mmsearchignore",
        True,
    )
    assert len(names(album)) == 5


def test_a_linked_folder_is_left_out_by_its_name(album, tmp_path):
    touch(tmp_path / "other", "f.jpg")
    (album / "link").symlink_to(tmp_path / "other")
    assert "link/f.jpg" in names(album, follow_links=True)
    assert "link/f.jpg" not in names(album, follow_links=True, exclude=["link"])
