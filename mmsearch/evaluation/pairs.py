"""What is evaluated: pictures, texts, and which belong together."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mmsearch.errors import BadSource
from mmsearch.evaluation.ranks import Relevance, relevance
from mmsearch.types import Item, Sample, Skipped
from mmsearch.uris import printable


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pictures and the texts that describe them.

    source: for the report. pictures: each once; one without a caption is found wrongly or not
    at all. owners: for each text, the rows of the pictures that it was written for. groups:
    for each picture, what it is in; pictures of one group are relevant to one another's texts.
    skipped: left out, with the reason. split: the one that was kept, "" for all.
    """

    source: str
    pictures: tuple[Sample, ...]
    texts: tuple[str, ...]
    owners: tuple[tuple[int, ...], ...]
    groups: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    split: str = ""

    def members(self) -> dict[str, list[int]]:
        """Return the rows of the pictures of each group."""
        found: dict[str, list[int]] = {}
        for row, group in enumerate(self.groups):
            found.setdefault(group, []).append(row)
        return found

    def text_to_image(self) -> Relevance:
        """Return the pictures relevant to each text: of all groups of its own pictures."""
        members = self.members()
        wanted = (dict.fromkeys(self.groups[p] for p in own) for own in self.owners)
        return relevance([p for g in groups for p in members[g]] for groups in wanted)

    def described(self) -> list[int]:
        """Return the rows of the pictures that some text is relevant to."""
        groups = {self.groups[p] for own in self.owners for p in own}
        return [row for row, group in enumerate(self.groups) if group in groups]

    def image_to_text(self) -> Relevance:
        """Return the texts relevant to each of the `described` pictures, in their order."""
        texts: dict[str, list[int]] = {}
        for text, own in enumerate(self.owners):
            for group in dict.fromkeys(self.groups[p] for p in own):
                texts.setdefault(group, []).append(text)
        return relevance(texts[self.groups[p]] for p in self.described())

    def text_clusters(self) -> list[str]:
        """Return what each text is drawn with by the bootstrap: its (first) picture's group."""
        return [self.groups[own[0]] for own in self.owners]

    def image_clusters(self) -> list[str]:
        """Return the group of each of the `described` pictures."""
        return [self.groups[p] for p in self.described()]

    def without(self, rows: Iterable[int], skipped: Sequence[Skipped]) -> Pairs:
        """Return the pairs without these pictures, and without texts that have no other."""
        gone = set(rows)
        left = [p for p in range(len(self.pictures)) if p not in gone]
        number = {old: new for new, old in enumerate(left)}
        own = [tuple(number[p] for p in o if p in number) for o in self.owners]
        kept = [t for t, o in enumerate(own) if o]
        return replace(
            self,
            pictures=tuple(self.pictures[p] for p in left),
            groups=tuple(self.groups[p] for p in left),
            texts=tuple(self.texts[t] for t in kept),
            owners=tuple(own[t] for t in kept),
            skipped=(*self.skipped, *skipped),
        )


@dataclass(slots=True)
class _Texts:
    """Texts in order, those that are to be merged by what they say."""

    merge: bool
    texts: list[str] = field(default_factory=list)
    owners: list[list[int]] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)

    def add(self, text: str, picture: int) -> None:
        key = normalized(text) if self.merge else ""
        row = self.rows.setdefault(key, len(self.texts)) if key else len(self.texts)
        if row == len(self.texts):
            self.texts.append(text)
            self.owners.append([])
        if picture not in self.owners[row]:
            self.owners[row].append(picture)


def read_pairs(
    source: str, *, split: str | None = None, group: str | None = None,
    merge_captions: bool = False,
) -> Pairs:  # fmt: skip
    """Return the pictures of a source that `mmsearch.readers.read` knows, with their captions.

    Args:
        source: a Karpathy or COCO JSON file, a table, or a folder with captions.
        split: one split, or "all"; None is the test split where there is one, else all.
        group: a meta field; pictures with the same value are relevant to one another's
            captions. A picture without it is a group of its own.
        merge_captions: captions that say the same (see `normalized`) become one text, which
            all of their pictures are relevant to.

    Raises:
        BadSource: as `read`; or there is no picture with a caption, or no picture with `group`.
    """
    from mmsearch.readers import read

    wanted = None if split in (None, "all") else split
    samples: dict[str, Sample] = {}
    skipped: list[Skipped] = []
    for sample in read(source, split=wanted):
        if isinstance(sample, Skipped):
            skipped.append(sample)
        elif sample.item.kind == "text":
            reason = "a text without a picture cannot be evaluated"
            skipped.append(Skipped(sample.item.key, sample.item.uri, reason))
        else:
            samples.setdefault(sample.item.key, sample)
    chosen = list(samples.values())
    if split is None and any(s.item.meta.get("split") == "test" for s in chosen):
        chosen, wanted = [s for s in chosen if s.item.meta.get("split") == "test"], "test"
    if not any(s.captions for s in chosen):
        raise BadSource(
            f"{printable(source)} has no picture with a caption, so there is nothing to ask; "
            "give a table or data set of pairs, or put captions beside the pictures"
        )
    if group is not None and not any(s.item.meta.get(group) is not None for s in chosen):
        raise BadSource(f"no picture of {printable(source)} has the field {printable(group)!r}")
    texts = _Texts(merge_captions)
    for row, sample in enumerate(chosen):
        for caption in sample.captions:
            texts.add(caption, row)
    return Pairs(
        source, tuple(chosen), tuple(texts.texts), tuple(tuple(o) for o in texts.owners),
        tuple(_group(s.item, group) for s in chosen), tuple(skipped), wanted or "",
    )  # fmt: skip


def normalized(text: str) -> str:
    """Return what counts when captions are merged: case, white space and a final stop don't."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    return " ".join(words).rstrip(" .")


def _group(item: Item, name: str | None) -> str:
    value = item.meta.get(name) if name is not None else None
    return f"={value}" if value is not None else item.key


__all__ = ["Pairs", "normalized", "read_pairs"]
