"""`mmsearch demo`: real pictures, a real model, a few questions; nothing is downloaded.

The pictures are those which scikit-image carries for its own examples: photographs in the
public domain or CC0, see its data/README.txt.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli import Exit

if TYPE_CHECKING:
    from mmsearch.search import Engine
    from mmsearch.types import Hit

QUESTIONS = (
    "a cup of coffee on a table",
    "a photographer at work",
    "a motorcycle parked indoors",
    "a cat",
    "an astronaut in an orange suit",
)
PICTURE = "chelsea.png"


@click.command("demo", short_help="Index free pictures and ask a few questions.")
@click.option("--store", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where to put the index [default: the user's cache folder].")  # fmt: skip
def demo_command(store: Path | None) -> int:
    """Index free pictures and ask a few questions, by text and by picture.

    Works offline. The index stays, so you can go on asking.
    """
    from index_store import Store
    from mmsearch import Engine, ingest, load_encoder
    from mmsearch.photos import PHOTOS, photos_folder
    from mmsearch.readers import read

    folder = photos_folder()
    store = store or _cache_folder()
    if store.exists() and (store / "demo").exists():
        shutil.rmtree(store)
    encoder = load_encoder("starter")
    with Store.open(store, create=True) as opened:
        (store / "demo").touch()
        collection = opened.create_collection("default", encoder.space, model="starter")
        started = time.perf_counter()
        samples = [s for name in PHOTOS for s in read(str(folder / name))]
        report = ingest(samples, encoder, collection)
        seconds = time.perf_counter() - started
        click.echo(f"Indexed {report.added} photographs in {seconds:.1f} s (model: starter).")
        engine = Engine(collection, encoder)
        for question in QUESTIONS:
            _ask(engine, question)
        _ask_by_picture(engine, folder / PICTURE)
    click.echo(
        f'\nGo on:  mmsearch search "..." --store {store}\n'
        "The model starter is small: best at people, dogs, sport and outdoors, unsure of much\n"
        "else (the words do not find the rocket). `mmsearch models list` names better ones."
    )
    return Exit.OK


def _cache_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("mmsearch", appauthor=False) / "demo"


def _ask(engine: Engine, question: str) -> None:
    from mmsearch.types import Query

    click.echo(f'\n$ mmsearch search "{question}"')
    _show(engine.search(Query(question, k=3)))


def _ask_by_picture(engine: Engine, path: Path) -> None:
    """Ask with a part of a picture: mirrored, so that no pixel is where it was."""
    from PIL import ImageOps

    from mmsearch.images import open_picture
    from mmsearch.types import Query

    image = open_picture(path).image
    width, height = image.size
    part = ImageOps.mirror(image.crop((width // 8, height // 8, width, height))).resize((200, 150))
    click.echo(f"\n$ mmsearch search part-of-{path.name}      (cut, mirrored, made smaller)")
    _show(engine.search(Query(image=part, k=3)))


def _show(hits: list[Hit]) -> None:
    from mmsearch.cli.output import hit_path
    from mmsearch.cli.preview import can_show, half_blocks
    from mmsearch.images import open_picture

    for hit in hits:
        click.echo(f"{hit.rank:>3}  {hit.score:.3f}  {hit.item.meta['name']}")
    if hits and can_show():
        click.echo(half_blocks(open_picture(hit_path(hits[0]), target=64).image))
