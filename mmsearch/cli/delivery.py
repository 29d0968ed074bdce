"""What is done with hits besides printing them: previews, copies, links, a viewer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mmsearch.cli.options import note

if TYPE_CHECKING:
    from mmsearch.types import Hit, Query

F = TypeVar("F", bound=Callable[..., Any])
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was asked for, as the options say it."""

    preview: bool = False
    copy_to: Path | None = None
    link_to: Path | None = None
    open_: bool = False
    explain: bool = False

    def check(self, kind: str) -> None:
        """Refuse what cannot be done.

        Raises:
            click.UsageError: pictures are to be copied, and texts are looked for; or both.
        """
        if self.copy_to and self.link_to:
            raise click.UsageError("--copy-to and --link-to: one of the two")
        if kind == "text" and (self.copy_to or self.link_to):
            raise click.UsageError("--copy-to and --link-to are for pictures, not for --kind text")


def delivery_options(command: F) -> F:
    """Add --preview, --copy-to, --link-to, --open, --explain; the command gets one `delivery`."""
    from functools import wraps

    @wraps(command)
    def called(
        *args: Any, preview: bool, copy_to: Path | None, link_to: Path | None, open_: bool,
        explain: bool, **kwargs: Any,
    ) -> Any:  # fmt: skip
        delivery = Delivery(preview, copy_to, link_to, open_, explain)
        return command(*args, delivery=delivery, **kwargs)

    folder = click.Path(path_type=Path, file_okay=False)
    out: Any = called
    for option in (
        click.option("--explain", is_flag=True,
                     help="Show what each score is made of, in the table and in JSON."),
        click.option("--open", "open_", is_flag=True, help="Open the best hit in a viewer."),
        click.option("--link-to", type=folder, metavar="DIR",
                     help="Make symbolic links to the pictures found in this folder."),
        click.option("--copy-to", type=folder, metavar="DIR",
                     help="Copy the pictures found into this folder; nothing is overwritten."),
        click.option("--preview", is_flag=True,
                     help="Show the pictures, on a terminal: Kitty's, iTerm2's or sixel graphics, "
                     "else coloured blocks."),
    ):  # fmt: skip
        out = option(out)
    result: F = out
    return result


def deliver(
    query: Query, hits: Sequence[Hit], format_: str, delivery: Delivery, *, null: bool = False
) -> bool:
    """Print hits and do with them what was asked for; return whether all of it succeeded."""
    from mmsearch.cli.output import hit_path, write_hits

    if format_ == "html":
        from mmsearch.cli.gallery import gallery

        click.echo(gallery(query, hits))
    elif not (
        delivery.preview and format_ == "table" and _write_previews(query, hits, delivery.explain)
    ):
        write_hits(query, hits, format_, null=null, explain=delivery.explain)
    done = True
    if folder := delivery.copy_to or delivery.link_to:
        done = _collect(hits, folder, link=delivery.link_to is not None)
    if delivery.open_ and hits:
        path = hit_path(hits[0])
        # Waiting: xdg-open comes back at once, and only so it can say that there is no viewer.
        if not path or click.launch(path, wait=True):
            note("the best hit could not be opened in a viewer")
            done = False
    return done


def _write_previews(query: Query, hits: Sequence[Hit], explain: bool) -> bool:
    """Print hits, each with its picture; False if this is no terminal for that."""
    from mmsearch.cli.output import hit_path, write_hits
    from mmsearch.cli.preview import drawn, protocol
    from mmsearch.errors import BadPicture
    from mmsearch.images import open_picture
    from mmsearch.sources import open_source

    how = protocol()
    if how is None:
        note("no previews: this is no terminal that shows colours")
        return False
    for hit in hits:
        write_hits(query, [hit], "table", explain=explain)
        if hit_path(hit):
            try:
                image = open_picture(open_source(hit.item.uri), target=160).image
            except (BadPicture, OSError, ValueError):
                continue  # the line above says which; it is gone, or a text's table
            click.echo(drawn(image, how), color=True)
    return True


def _collect(hits: Sequence[Hit], folder: Path, *, link: bool) -> bool:
    """Copy or link the pictures of hits; return whether all of them are there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"cannot make {folder}: {error.strerror}") from error
    made = there = failed = 0
    for hit in hits:
        try:
            if _put(hit, folder, link):
                made += 1
            else:
                there += 1
        except (OSError, ValueError) as error:
            failed += 1
            _say_failed(hit, error)
    verb = "linked" if link else "copied"
    others = {"there already": there, "failed": failed}
    told = "".join(f", {count:,} {what}" for what, count in others.items() if count)
    note(f"{made:,} {verb} to {folder}{told}")
    return not failed


def _say_failed(hit: Hit, error: Exception) -> None:
    from mmsearch.uris import printable

    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    note(f"failed: {printable(hit.item.key)}: {reason}")


def _put(hit: Hit, folder: Path, link: bool) -> bool:
    """Put one picture into the folder, under a name that is free; False if it is there."""
    from mmsearch.cli.output import hit_path
    from mmsearch.errors import BadPicture
    from mmsearch.sources import open_source

    if not hit_path(hit):
        raise ValueError("it has no file")
    try:
        source = open_source(hit.item.uri)
    except BadPicture as error:
        raise ValueError(str(error)) from error
    if isinstance(source, bytes) and link:
        raise ValueError("it is inside another file; --copy-to takes it out")
    name, source = _named(hit, source)
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - keeps ".name" whole
    for number in range(1, 100_000):
        target = folder / (name if number == 1 else f"{stem}-{number}{suffix}")
        try:
            _make(source, target, link)
        except FileExistsError:
            if _is_there(source, target, link):
                return False
            continue
        return True
    raise ValueError("100,000 pictures of its name are there")


def _named(hit: Hit, source: str | bytes) -> tuple[str, str | bytes]:
    """Return the name that a picture gets, and what to write: of a page or frame, a PNG."""
    from mmsearch.uris import file_name

    if isinstance(source, str):
        return file_name(Path(source).name), source
    mark = hit.item.key.partition("#")[2]
    if not source.startswith(b"P6"):  # a member of a tar or zip, or a cell
        return file_name(Path(mark if "." in mark else hit.item.key).name), source
    from PIL import Image

    file = BytesIO()
    with Image.open(BytesIO(source)) as image:
        image.save(file, "PNG")
    return file_name(f"{hit.item.meta.get('name', 'picture')} {mark}.png"), file.getvalue()


def _make(source: str | bytes, target: Path, link: bool) -> None:
    if link:
        target.symlink_to(os.path.abspath(str(source)))  # noqa: PTH100 - links stay links
    elif isinstance(source, bytes):
        with target.open("xb") as file:
            file.write(source)
    else:
        with Path(source).open("rb") as original, target.open("xb") as file:
            shutil.copyfileobj(original, file, _BLOCK)
        times = Path(source).stat()
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def _is_there(source: str | bytes, target: Path, link: bool) -> bool:
    """Return whether the name is taken by this very picture."""
    if link:
        return target.is_symlink() and target.readlink() == Path(os.path.abspath(str(source)))  # noqa: PTH100
    if not target.is_file():
        return False
    if isinstance(source, bytes):
        return target.read_bytes() == source
    import filecmp

    return filecmp.cmp(source, target, shallow=False)
