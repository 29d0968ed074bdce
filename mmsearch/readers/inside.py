"""Pages of documents, frames of films and animations, pictures of camera raw files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmsearch.errors import BadPicture, BadSource
from mmsearch.isolation import times_in
from mmsearch.readers.samples import real_path, reason_of
from mmsearch.readers.sidecars import sidecar_stamp
from mmsearch.sources import frame_uri
from mmsearch.stamps import told_stamp
from mmsearch.types import Item, MetaValue, Sample, Skipped
from mmsearch.uris import is_text, key_of, printable, stamp_of, uri_of


def read_frames(path: str, sort: str) -> Iterator[Sample | Skipped]:
    """Yield the pages or frames of one file; only their number or times are looked up.

    The key is "PDF#page=3" or "FILM#t=12.4" (seconds). What cannot be read at all is yielded as
    Skipped.

    Args:
        sort: "pdf", "video" or "animation" (without the first frame: that is the file's own).

    Raises:
        BadSource: the file cannot be read.
        MissingExtra: the library for it is not installed.
    """
    path = real_path(path)
    try:
        stat = Path(path).stat()
        times = times_in(sort, path)
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error
    except BadPicture as error:
        yield Skipped(f"{key_of(path)}#end", uri_of(path), str(error), stamp_of(stat))
        return
    for at in times:
        uri = frame_uri(sort, path, at)
        mark = uri.rpartition("#")[2]
        extra: dict[str, MetaValue] = {"page": int(at)} if sort == "pdf" else {"t": round(at, 3)}
        folder, name = os.path.split(path)
        yield part(
            f"{key_of(path)}#{mark}", uri, f"{stamp_of(stat)}@{mark}", name=name, folder=folder,
            size=stat.st_size, extra={"format": sort.upper(), **extra},
        )  # fmt: skip


def raw_sample(
    path: str, stat: os.stat_result, *, captions: Sequence[str] = (),
    extra: Mapping[str, MetaValue] | None = None, sidecar: str = "", own: bool = False,
) -> Sample:  # fmt: skip
    """Return the sample of a camera raw file: the picture that the camera has put into it.

    Args: as of `samples.picture`.
    """
    folder, name = os.path.split(path)
    stamp = stamp_of(stat) + (sidecar_stamp(sidecar) if sidecar else "")
    stamp += told_stamp(captions, extra or {}, own=own)
    found = part(
        key_of(path), frame_uri("raw", path, 0.0), stamp, name=name, folder=folder,
        size=stat.st_size, extra={**(extra or {}), "format": "RAW"},
    )  # fmt: skip
    return replace(found, captions=tuple(captions), sidecar=sidecar, own=own)


def part(
    key: str, uri: str, stamp: str, *, name: str, folder: str, size: int,
    extra: dict[str, MetaValue] | None = None,
) -> Sample:  # fmt: skip
    """Return the sample of a picture inside another file."""
    shown = folder.replace(os.sep, "/")
    meta = {
        **(extra or {}),
        "name": printable(name),
        "folder": shown if is_text(shown) else printable(shown),
        "bytes": size,
    }
    return Sample(Item(key, "image", uri, "", stamp, meta=meta))
