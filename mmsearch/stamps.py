"""A picture's stamp: what tells that it, or what is told of it, has changed.

    SIZE-TIME [ "@" PLACE ] [ "~" stamp of the XMP file ] [ "+" DIGEST or "+." DIGEST ]

PLACE is where it lies inside another file. DIGEST is of its captions and of more meta; with "."
they come from where the picture itself lies (photo.txt, the members of a tar), else from a list
of pictures, of which other sources know nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from mmsearch.types import MetaValue, Sample

_TOLD, _OWN = "+", "+."


def told_stamp(
    captions: Sequence[str], extra: Mapping[str, MetaValue], *, own: bool = False
) -> str:
    """Return what captions and more meta add to a stamp; "" if there are none."""
    if not captions and not extra:
        return ""
    return (_OWN if own else _TOLD) + digest(captions, extra)


def digest(captions: Sequence[str], extra: Mapping[str, MetaValue]) -> str:
    """Return 16 hexadecimal digits that differ when the captions or the meta differ."""
    raw = json.dumps([list(captions), extra], sort_keys=True).encode()
    return hashlib.blake2b(raw, digest_size=8).hexdigest()


def is_same(stored: str, sample: Sample) -> bool:
    """Return whether a sample is as it was stored, by the stored stamp.

    A source that brings no captions leaves those that a list has brought (the folder, after a
    table), and if it does not look for them, any.
    """
    stamp = sample.item.stamp
    if stored == stamp:
        return True
    if sample.captions or not stored.startswith(stamp + _TOLD):
        return False
    return not (sample.own and stored.startswith(stamp + _OWN))


def has_lost_captions(stored: str, sample: Sample) -> bool:
    """Return whether the captions that were stored came from where the picture lies, and there
    are none now."""
    return sample.own and not sample.captions and _OWN in stored
