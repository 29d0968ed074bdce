"""A zip of pictures, such as a comic book (.cbz)."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mmsearch.archives import ZIP_ERRORS, is_bomb, why_not, zip_members
from mmsearch.errors import BadSource
from mmsearch.readers.formats import is_junk, is_picture
from mmsearch.readers.inside import part
from mmsearch.readers.samples import real_path, reason_of
from mmsearch.sources import MEMBER_BYTES, entry_uri
from mmsearch.types import Sample, Skipped
from mmsearch.uris import is_text, key_of, printable, stamp_of, uri_of


def read_zip(path: str) -> Iterator[Sample | Skipped]:
    """Yield the pictures in a zip, in its order; their bytes are not read.

    A picture's key is "ZIP#MEMBER", its stamp the zip's and the member's checksum. Encrypted
    members, names that lead out of the zip and members above MEMBER_BYTES are yielded as Skipped,
    as is a zip that is damaged or a bomb; other files in it are passed over.

    Raises:
        BadSource: the file cannot be read.
    """
    path = real_path(path)
    try:
        with Path(path).open("rb") as file:
            stat = os.fstat(file.fileno())
            infos = [i for i in zip_members(file) if not i.is_dir() and is_picture(i.filename)]
    except OSError as error:
        raise BadSource(f"{printable(path)} cannot be read: {reason_of(error)}") from error
    except ZIP_ERRORS as error:
        stamp = stamp_of(Path(path).stat())
        yield Skipped(f"{key_of(path)}#end", uri_of(path), f"no zip, or damaged: {error}", stamp)
        return
    unpacked = sum(i.file_size for i in infos)
    if is_bomb(unpacked, stat.st_size):
        reason = f"its pictures claim {unpacked >> 30} GB in {stat.st_size >> 20} MB: a zip bomb"
        yield Skipped(f"{key_of(path)}#end", uri_of(path), reason, stamp_of(stat))
        return
    for info in infos:
        sample = _sample(path, info, stat)
        folders = PurePosixPath(info.filename).parts[:-1]
        if isinstance(sample, Skipped) or not any(is_junk(folder) for folder in folders):
            yield sample


def _sample(path: str, info: zipfile.ZipInfo, stat: os.stat_result) -> Sample | Skipped:
    name = info.filename if is_text(info.filename) else printable(info.filename)
    key, uri = f"{key_of(path)}#{name}", entry_uri(path, info)
    stamp = f"{stamp_of(stat)}@{info.CRC:08x}"
    if reason := why_not(info, MEMBER_BYTES):
        return Skipped(key, uri, reason, stamp)
    inner = PurePosixPath(name)
    folder = f"{key_of(path)}/{inner.parent}".removesuffix("/.")
    return part(key, uri, stamp, name=inner.name, folder=folder, size=info.file_size)
