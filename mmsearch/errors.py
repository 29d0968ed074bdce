"""What can go wrong above the store. Every message is fit to show to a user.

The store has its own tree (`index_store.errors`); the two are caught together in the CLI
group alone.
"""

from __future__ import annotations

from collections.abc import Iterable


class MmsearchError(Exception):
    """Base of everything this package raises on purpose."""


class UnknownName(MmsearchError):
    """A name that no plug-in of that sort has."""

    def __init__(self, sort: str, name: str, known: Iterable[str]) -> None:
        from difflib import get_close_matches

        known = sorted(known)
        guess = get_close_matches(name, known, n=1)
        hint = f"; did you mean {guess[0]!r}?" if guess else ""
        super().__init__(f"unknown {sort} {name!r}{hint} (known: {', '.join(known)})")
        self.sort, self.name, self.known = sort, name, known


class MissingExtra(MmsearchError):
    """An optional part of mmsearch is needed and not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part: pip install 'mmsearch[{extra}]'")
        self.what, self.extra = what, extra


class ModelUnavailable(MmsearchError):
    """A model's files are not there, cannot be fetched, or are not what they say."""


class BadPicture(MmsearchError):
    """A picture that cannot be decoded, or that is refused. The message is the reason."""


class BadSource(MmsearchError):
    """A file of pairs, a folder or a list of paths that cannot be read as such."""


class NoSplits(BadSource):
    """A split was asked for, and the source has none at all."""


class BadQuery(MmsearchError):
    """A query that cannot be answered: empty, or with a picture that cannot be read."""


class BadModelName(MmsearchError):
    """A name that a model cannot be given, or that no model of the user's has."""


class ExportFailed(MmsearchError):
    """A model that cannot be written as ONNX, or whose copy does not give the same vectors."""


class MissingData(MmsearchError):
    """Data that a figure needs and that this package doesn't bring, such as WordNet."""


class BadRegions(MmsearchError):
    """A file of regions that cannot be read, or that is not the picture's or the model's."""
