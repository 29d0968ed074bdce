"""What rclip itself does in its end-to-end scenarios: a JSON line each, for docs/rclip.md.

    python -m benchmarks.rival_models WORK
    python -m benchmarks.rclip_scenarios WORK/rclip --rclip PYTHON

PYTHON has rclip 4 installed. Its model is on a hub; WORK/rclip has one of random weights in its
place, so the ranking of texts says nothing here, and nothing is said of it: what is found, in which
number, with which messages and exit codes does not depend on weights, nor does a picture's score
with itself. The pictures are scikit-image's photographs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mmsearch.photos import photos_folder
from tests.mmsearch.readers.dng import dng

PLACES = {"chelsea": "cats/chelsea.jpg", "coffee": "coffee.jpg",
          "motorcycle_left": "a/b/c/bike.jpg", "astronaut": "woman.jpg"}  # fmt: skip
FORMS = {"bmp": "BMP", "gif": "GIF", "jp2": "JPEG2000", "png": "PNG", "pnm": "PPM", "ppm": "PPM",
         "pgm": "PPM", "pbm": "PPM", "tif": "TIFF", "tiff": "TIFF", "webp": "WEBP", "avif": "AVIF",
         "JPG": "JPEG", "jpeg": "JPEG", "heic": "HEIF"}  # fmt: skip
ODD = ["鳥鳥.jpg", "ä b'c\".jpg", "-n.jpg", "[x]*.jpg", "a\nb.jpg", "%41.jpg", "a#b?.jpg"]
_BAR = re.compile(r"\r?[^\r\n]*(?:images/s|s/images)\]|\r")


@dataclass
class Rclip:
    """rclip in folders of its own, with a data folder of its own."""

    python: str
    data: Path
    work: Path

    def __call__(self, folder: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
        env = os.environ | {"RCLIP_DATADIR": str(self.data), "HF_HUB_OFFLINE": "1"}
        return subprocess.run(
            [self.python, "-m", "rclip", *map(str, args)], cwd=folder, env=env, text=True,
            errors="backslashreplace", capture_output=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def tell(self, name: str, done: subprocess.CompletedProcess[str], **more: Any) -> None:
        """Print one scenario: what was found, in order, the exit code and what was said."""
        lines = [line for line in done.stdout.splitlines() if line != "score\tfilepath"]
        said = [e for e in _BAR.sub("\n", done.stderr).splitlines() if e.strip()]
        said = [e for e in said if not e.startswith("checking images in the current directory")]
        out = [line.replace(str(self.work), "") for line in lines]
        err = [line.replace(str(self.work), "") for line in said]
        one = {"scenario": name, "exit": done.returncode, "out": out[:20], "err": err[-3:], **more}
        print(json.dumps(one, ensure_ascii=False), flush=True)

    def album(self, name: str) -> Path:
        folder = self.work / name
        for photo, place in PLACES.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            picture(photo).save(folder / place, quality=90)
        return folder


def picture(name: str) -> Image.Image:
    with Image.open(photos_folder() / f"{name}.png") as image:
        small = image.convert("RGB")
    small.thumbnail((320, 320))
    return small


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("--rclip", required=True, metavar="PYTHON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        data = Path(home) / "data"
        shutil.copytree(args.models.resolve(), data)
        rclip = Rclip(args.rclip, data, Path(home).resolve() / "pictures")
        rclip.work.mkdir()
        queries(rclip)
        folders(rclip)
        files(rclip)


def queries(rclip: Rclip) -> None:
    album = rclip.album("queries")
    rclip.tell("search", rclip(album, "a cat"))
    rclip.tell("repeated_searches", rclip(album, "-n", "a cat"))
    rclip.tell("search_by_image: of the folder", rclip(album, "-n", "./cats/chelsea.jpg"))
    copy = shutil.copy(album / "cats" / "chelsea.jpg", rclip.work / "copy.jpg")
    rclip.tell("search_by_image: a copy elsewhere", rclip(album, "-n", copy))
    rclip.tell("search_by_non_existing_file", rclip(album, "-n", "./non-existing-file.jpg"))
    (album / "not-an-image.txt").write_text("not an image")
    rclip.tell("search_by_not_an_image", rclip(album, "-n", "./not-an-image.txt"))
    rclip.tell("add_and_subtract", rclip(album, "-n", "a cat", "-a", "a cup", "-s", "a roof"))
    rclip.tell("text and image", rclip(album, "-n", "a cat", "-a", "./coffee.jpg"))
    rclip.tell("query_multipliers", rclip(album, "-n", "2:a cat"))
    rclip.tell("a time for a multiplier", rclip(album, "-n", "2:30 in the afternoon"))
    rclip.tell("without that multiplier", rclip(album, "-n", "30 in the afternoon"))


def folders(rclip: Rclip) -> None:
    empty = rclip.work / "empty"
    empty.mkdir()
    rclip.tell("search_empty_dir", rclip(empty, "a cat"))
    album = rclip.album("life")
    rclip.tell("nested directories", rclip(album, "-f", "a cat"))
    rclip.tell("nested directories: from one of them", rclip(album / "a", "-n", "-f", "a cat"))
    shutil.copy(album / "coffee.jpg", album / "copy.jpg")
    rclip.tell("addition", rclip(album, "-f", "a cat"))
    (album / "copy.jpg").rename(album / "moved.jpg")
    rclip.tell("rename", rclip(album, "-f", "a cat"))
    (album / "moved.jpg").unlink()
    rclip.tell("deletion", rclip(album, "-f", "a cat"))
    shutil.rmtree(album)
    album.mkdir()
    rclip.tell("all of them deleted", rclip(album, "-f", "a cat"))


def files(rclip: Rclip) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    formats = rclip.work / "formats"
    formats.mkdir()
    for suffix, form in FORMS.items():
        mode = {"pgm": "L", "pbm": "1"}.get(suffix, "RGB")
        picture("chelsea").convert(mode).save(formats / f"cat.{suffix}", form)
    frames = [picture("coffee"), picture("chelsea")]
    frames[0].save(formats / "moving.gif", save_all=True, append_images=frames[1:], duration=300)
    rclip.tell("search_format", rclip(formats, "-f", "-t", "30", "a cat"), of=len(FORMS) + 1)
    odd = rclip.album("odd")
    for name in ODD:
        shutil.copy(odd / "coffee.jpg", odd / name)
    rclip.tell("unicode_filepaths and others", rclip(odd, "-f", "-t", "30", "a cat"))
    shutil.copy(odd / "coffee.jpg", os.fsdecode(os.fsencode(odd) + b"/\xff.jpg"))
    rclip.tell("a name that is no UTF-8", rclip(odd, "-f", "-t", "30", "a cat"))
    bad = rclip.album("broken")
    (bad / "cut.jpg").write_bytes((bad / "coffee.jpg").read_bytes()[:9000])
    (bad / "text.jpg").write_text("no picture")
    (bad / "empty.jpg").touch()
    rclip.tell("broken files", rclip(bad, "-f", "a cat"))
    rclip.tell("broken files again", rclip(bad, "-f", "a cat"))
    raw = rclip.album("raw")
    (raw / "cup.dng").write_bytes(dng((raw / "coffee.jpg").read_bytes()))
    (raw / "coffee.dng").write_bytes(dng((raw / "coffee.jpg").read_bytes()))
    rclip.tell("raw support off", rclip(raw, "-f", "a cat"))
    rclip.tell("raw support on", rclip(raw, "--experimental-raw-support", "-f", "a cat"))


if __name__ == "__main__":
    main()
