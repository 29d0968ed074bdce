"""What is done with hits besides printing them, on real files."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.conftest import shared_data
from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.conftest import paint

ROOT = Path(__file__).parents[3]


@pytest.fixture
def album(mmsearch: Mmsearch, tmp_path: Path) -> Mmsearch:
    """Six photographs, one of them with a name that HTML must escape."""
    folder = tmp_path / "album"
    folder.mkdir()
    for path in sorted((shared_data("flickr8k") / "test").iterdir())[:6]:
        shutil.copyfile(path, folder / path.name)
    next(folder.iterdir()).rename(folder / 'a<b>&".jpg')
    assert mmsearch("index", folder, "--model", "color").code == 0
    return mmsearch


def test_a_gallery_has_the_hits_and_needs_nothing_else(album: Mmsearch, tmp_path: Path) -> None:
    done = album("search", "<i>red</i>", "-n", "6", "--format", "html")
    assert done.code == 0
    assert done.out.count("<figure") == done.out.count('src="data:image/jpeg;base64,') == 6
    assert "a&lt;b&gt;&amp;&quot;.jpg" in done.out
    assert "<h1>&lt;i&gt;red&lt;/i&gt;</h1>" in done.out
    assert "<script" not in done.out
    assert {u[:5] for u in re.findall(r'src="([^"]+)', done.out)} == {"data:"}
    # A picture as the query is in the page, one that is gone is said to be.
    (tmp_path / "album" / 'a<b>&".jpg').unlink()
    query = next(p for p in (tmp_path / "album").iterdir())
    out = album("similar", query, "-n", "6", "--format", "html").out
    assert "<h1><img" in out
    assert "cannot be opened any more" in out


def test_captions_in_a_gallery_are_quoted(indexed: Mmsearch, photos: Path) -> None:
    out = indexed("search", photos / "red.png", "--kind", "text", "--format", "html").out
    assert "<blockquote>something red</blockquote>" in out


def test_pictures_are_copied_and_nothing_is_overwritten(indexed: Mmsearch, photos: Path) -> None:
    folder = Path("out") / "reds"
    folder.mkdir(parents=True)
    (folder / "red.png").write_text("mine")
    for said in (f"2 copied to {folder}\n", f"0 copied to {folder}, 2 there already\n"):
        done = indexed("search", "red", "-n", "2", "--copy-to", folder)
        assert done.code == 0
        assert said in done.err
    assert (folder / "red.png").read_text() == "mine"
    assert (folder / "red-2.png").read_bytes() == (photos / "red.png").read_bytes()
    assert len(list(folder.iterdir())) == 3
    assert (folder / "red-2.png").stat().st_mtime_ns == (photos / "red.png").stat().st_mtime_ns


def test_pictures_are_linked(indexed: Mmsearch, photos: Path) -> None:
    for _ in range(2):
        assert indexed("similar", photos / "red.png", "-n", "2", "--link-to", "links").code == 0
    links = sorted(Path("links").iterdir())
    assert [p.name for p in links] == ["blue.png", "green.png"]
    assert links[1].readlink() == photos / "green.png"


def test_what_cannot_be_copied_is_said_and_the_rest_is_copied(
    indexed: Mmsearch, photos: Path
) -> None:
    (photos / "red.png").unlink()
    done = indexed("search", "red", "--copy-to", "out")
    assert done.code == 5
    assert f"failed: {photos / 'red.png'}: No such file" in done.err
    assert "2 copied to out, 1 failed" in done.err
    assert len(list(Path("out").iterdir())) == 2


def test_a_picture_inside_a_tar_is_taken_out(mmsearch: Mmsearch, tmp_path: Path) -> None:
    picture = paint(tmp_path / "red.png", "red")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(picture, "deep/red.png")
    assert mmsearch("index", tmp_path / "shard.tar", "--model", "color").code == 0
    assert mmsearch("search", "red", "--copy-to", "out").code == 0
    (copy,) = Path("out").iterdir()
    assert copy.read_bytes() == picture.read_bytes()
    assert mmsearch("search", "red", "--link-to", "out").code == 5


def test_calls_that_cannot_be_are_refused(indexed: Mmsearch) -> None:
    assert indexed("search", "red", "--copy-to", "a", "--link-to", "b").code == 2
    assert indexed("search", "red", "--kind", "text", "--copy-to", "a").code == 2
    Path("file").write_text("")
    assert indexed("search", "red", "--copy-to", "file").code == 2


@pytest.mark.skipif(sys.platform != "linux", reason="xdg-open is Linux's")
def test_the_best_hit_is_opened(
    indexed: Mmsearch, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = tmp_path / "bin" / "xdg-open"
    viewer.parent.mkdir()
    viewer.write_text('#!/bin/sh\necho "$1" > opened\n')
    viewer.chmod(0o755)
    monkeypatch.setenv("PATH", f"{viewer.parent}:{os.environ['PATH']}")
    assert indexed("search", "red", "--open").code == 0
    assert Path("opened").read_text().strip() == str(photos / "red.png")
    viewer.write_text("#!/bin/sh\nexit 3\n")
    assert indexed("search", "red", "--open").code == 5


def on_a_terminal(args: list[str | Path], answer: bytes = b"", **env: str) -> str:
    """Run mmsearch on a terminal of its own that answers a question so; return what it shows."""
    import pty

    ours, theirs = pty.openpty()
    telling = {"TERM_PROGRAM", "TMUX", "KITTY_WINDOW_ID", "NO_COLOR", "COLORTERM"}
    clean = {k: v for k, v in os.environ.items() if k not in telling}
    call = [sys.executable, "-m", "mmsearch", *map(str, args)]
    with subprocess.Popen(
        call, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL,
        env=clean | {"TERM": "xterm", "PYTHONPATH": str(ROOT)} | env,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                some = os.read(ours, 65536)
            except OSError:
                break  # the other end is closed
            shown += some
            if answer and b"\x1b[c" in some:
                os.write(ours, answer)
    os.close(ours)
    assert process.returncode == 0
    return shown.decode("utf8", "replace")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("env", "answer", "start"),
    [
        ({"KITTY_WINDOW_ID": "1"}, b"", "\x1b_Gf=100,a=T,"),
        ({"TERM_PROGRAM": "iTerm.app"}, b"", "\x1b]1337;File=inline=1;"),
        ({}, b"\x1b[?62;4;6c", "\x1bPq"),
        ({"COLORTERM": "truecolor"}, b"\x1b[?62;6c", "\x1b[38;2;"),
        ({"COLORTERM": "truecolor", "TMUX": "1", "KITTY_WINDOW_ID": "1"}, b"", "\x1b[38;2;"),
        ({"MMSEARCH_PREVIEW": "sixel"}, b"", "\x1bPq"),
    ],
)
def test_previews_are_drawn_as_the_terminal_can(
    indexed: Mmsearch, env: dict[str, str], answer: bytes, start: str
) -> None:
    shown = on_a_terminal(["search", "red", "-n", "2", "--preview"], answer, **env)
    assert shown.count(start) >= 2
    others = {"\x1b_G", "\x1b]1337", "\x1bPq", "\x1b[38;2;"} - {start[:3], start[:6], start[:7]}
    assert not [o for o in others if o in shown and not start.startswith(o)]
    assert "red.png" in shown


def test_no_preview_goes_into_a_pipe(indexed: Mmsearch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_PREVIEW", "kitty")
    done = indexed("search", "red", "--preview")
    assert "\x1b" not in done.out
    assert "red.png" in done.out
    assert "no previews" in done.err


def test_a_gallery_says_what_a_sum_asked_for(indexed: Mmsearch, photos: Path) -> None:
    out = indexed("search", "red", "--not", "green", "--format", "html").out
    assert "<h1>red - green</h1>" in out
