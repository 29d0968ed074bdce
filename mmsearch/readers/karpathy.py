"""The Karpathy style: every picture with its split and its sentences in one list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmsearch.readers.places import places
from mmsearch.readers.questions import Asked, broken
from mmsearch.readers.samples import Splits, scalars
from mmsearch.types import Sample, Skipped
from mmsearch.uris import clean, key_of, uri_of


def read(
    path: str, data: Mapping[str, Any], *, split: str | None = None
) -> Iterator[Sample | Skipped]:
    """Yield the pictures of `data["images"]` in order, with their sentences as captions.

    A picture's path is "filename" within "filepath", if there is one. Its other scalar
    fields (split, category ...) become meta.

    Args:
        path: the file that the data came from.
        data: its content.
        split: "test" or "train,restval"; None is all.

    Raises:
        BadSource: no picture has this split.
    """
    near, splits = places(path), Splits(split)
    for n, image in enumerate(data["images"], start=1):
        name = image.get("filename") if isinstance(image, dict) else None
        if not isinstance(name, str) or not name:
            mark = f"#image-{n}"
            yield Skipped(key_of(path) + mark, uri_of(path) + mark, f"image {n}: no filename")
            continue
        if splits.keeps(image.get("split")):
            folder = image.get("filepath")
            yield near.sample(
                f"{folder}/{name}" if isinstance(folder, str) and folder else name,
                where=f"image {n}",
                captions=_captions(image.get("sentences")),
                extra=scalars(image, without=("filename", "filepath")),
            )
    splits.check(path)


def asked(
    path: str, data: Mapping[str, Any], *, split: str | None = None
) -> Iterator[Asked | Skipped]:
    """Yield the questions of `data["qa"]`, which some data sets have beside the images.

    Args:
        path: the file that the data came from.
        data: its content; each question names its picture as "filename" does.
        split: as for `read`.

    Raises:
        BadSource: no question has this split.
    """
    splits = Splits(split)
    for n, fields in enumerate(data["qa"], start=1):
        where = f"question {n}"
        name = fields.get("image") if isinstance(fields, dict) else None
        if not isinstance(name, str) or not isinstance(fields.get("question"), str):
            yield broken(path, where, "no image or no question")
        elif splits.keeps(fields.get("split")):
            found = fields.get("answers")
            given = found if isinstance(found, list) else ()
            answers = tuple(clean(a) for a in given if isinstance(a, str))
            yield Asked(where, str(n), name, (name,), clean(fields["question"]), answers)
    splits.check(path)


def _captions(sentences: Any) -> list[str]:
    captions = []
    for sentence in sentences if isinstance(sentences, list) else ():
        if isinstance(sentence, dict):
            tokens = sentence.get("tokens")
            words = map(str, tokens) if isinstance(tokens, list) else ()
            sentence = sentence.get("raw") or " ".join(words)
        if isinstance(sentence, str) and clean(sentence):
            captions.append(clean(sentence))
    return captions
