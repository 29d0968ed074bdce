"""Which files and folders the user wants left out: --exclude, and .mmsearchignore files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pathspec import GitIgnoreSpec

from mmsearch.errors import BadSource
from mmsearch.uris import printable

IGNORE_FILE = ".mmsearchignore"  # in any folder, in gitignore's syntax
_BYTES = 1 << 20


class BadPattern(BadSource):
    """A pattern of files to leave out that is none in gitignore's syntax."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is left out of a folder.

    always: the patterns of --exclude, which no file takes back. layers: folders with the patterns
    of their `.mmsearchignore`, the outermost first.
    """

    root: str
    always: GitIgnoreSpec | None = None
    layers: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    def and_file(self, folder: str) -> Rules:
        """Return the rules with those of the folder's own `.mmsearchignore` added.

        Raises:
            BadPattern: a line is no pattern.
            OSError: the file cannot be read.
        """
        path = Path(folder) / IGNORE_FILE
        with path.open("rb") as file:
            text = file.read(_BYTES).decode("utf-8-sig", errors="surrogateescape")
        layer = (folder, _spec(text.splitlines(), str(path)))
        return replace(self, layers=(*self.layers, layer))

    def leave_out(self, path: str, *, folder: bool = False) -> bool:
        """Return whether a file, or a folder, is left out; the innermost rule decides."""
        if self.always and _verdict(self.always, self.root, path, folder):
            return True
        for base, spec in reversed(self.layers):
            verdict = _verdict(spec, base, path, folder)
            if verdict is not None:
                return verdict
        return False


def rules_of(root: str, patterns: Sequence[str]) -> Rules:
    """Return the rules that --exclude gives for a folder.

    Raises:
        BadPattern: one of them is no pattern.
    """
    return Rules(root, _spec(patterns, "--exclude") if patterns else None)


def _verdict(spec: GitIgnoreSpec, base: str, path: str, folder: bool) -> bool | None:
    """Return what the last pattern that fits says: leave out, or keep; None if none fits."""
    below = path[len(base) :].replace(os.sep, "/").lstrip("/")
    return spec.check_file(f"{below}/" if folder else below).include


def _spec(lines: Sequence[str], where: str) -> GitIgnoreSpec:
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError as error:
            raise BadPattern(
                f"{printable(where)}: {printable(line)} is no pattern of gitignore's"
            ) from error
    return GitIgnoreSpec.from_lines(lines)
