"""How alike two nouns are, by WordNet: Wu and Palmer's similarity, as WUPS uses it.

WordNet itself is data that a user installs: Debian's package `wordnet-base`, NLTK's
`corpora/wordnet`, or any folder with WordNet's own `data.noun` and `index.noun`.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from mmsearch.errors import MissingData

PLACES = (
    "/usr/share/wordnet",
    "~/nltk_data/corpora/wordnet",
    "/usr/share/nltk_data/corpora/wordnet",
    "/usr/local/share/nltk_data/corpora/wordnet",
)
DOWN = 0.1  # of the similarity below the threshold
_HYPERNYMS = ("@", "@i")  # of a class, of an instance
# morphy(7WN): endings of a plural, and what the singular has.
_ENDINGS = (
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"),
    ("shes", "sh"), ("men", "man"), ("ies", "y"),
)  # fmt: skip


class WuPalmer:
    """The similarity of two single answers, 0 to 1, down-weighted below a threshold.

    Answers that are equal have 1; of others the best pair of their meanings as nouns counts,
    a tenth of it below the threshold. Words that WordNet lacks are like nothing else.
    """

    def __init__(self, nouns: Nouns, threshold: float) -> None:
        self.threshold = threshold
        self._best = cache(nouns.similarity)

    def __call__(self, one: str, other: str) -> float:
        if one == other:
            return 1.0
        best = self._best(*sorted((one, other)))
        # arXiv:1410.0210, section 3.3: down-weighted where two words are hardly synonyms.
        return best if best >= self.threshold else DOWN * best


class Nouns:
    """WordNet's nouns, their meanings and what each is a kind of.

    Args:
        folder: with WordNet's files; None looks at the usual places.

    Raises:
        MissingData: WordNet is not there, or damaged.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or _find()
        if not (self.folder / "data.noun").is_file():
            raise MissingData(f"{self.folder} holds no WordNet: data.noun is not there")
        try:
            self._meanings = _read_index(self.folder / "index.noun")
            self._names, self._above = _read_data(self.folder / "data.noun")
            self._irregular = _read_exceptions(self.folder / "noun.exc")
        except (OSError, ValueError, IndexError) as error:
            raise MissingData(f"the WordNet in {self.folder} cannot be read: {error}") from error
        self._ancestors = cache(self._walk)
        self._depths = cache(self._measure)

    def meanings(self, word: str) -> list[int]:
        """Return the meanings of a word or phrase, its plural too; none if it is unknown."""
        lemma = "_".join(word.lower().split())
        forms = [lemma, *self._irregular.get(lemma, ())]
        forms += [
            lemma[: len(lemma) - len(old)] + new for old, new in _ENDINGS if lemma.endswith(old)
        ]
        found = [m for form in dict.fromkeys(forms) for m in self._meanings.get(form, ())]
        return list(dict.fromkeys(found))

    def similarity(self, one: str, other: str) -> float:
        """Return Wu and Palmer's similarity of the two words' closest meanings; 0 if unknown."""
        pairs = ((a, b) for a in self.meanings(one) for b in self.meanings(other))
        return max((self._wu_palmer(a, b) for a, b in pairs), default=0.0)

    def _wu_palmer(self, one: int, other: int) -> float:
        mine, theirs = self._ancestors(one), self._ancestors(other)
        common = mine.keys() & theirs.keys()
        if not common:
            return 0.0
        # Wu and Palmer 1994, eq. 1, with NLTK's choices: the subsumer is the deepest by its
        # shortest way to the root, and its depth is that of its longest.
        deepest = max(self._depths(c)[0] for c in common)
        ties = [c for c in common if self._depths(c)[0] == deepest]
        subsumer = one if one in ties else min(ties, key=lambda c: (self._names[c], c))
        depth = self._depths(subsumer)[1] + 1
        ways = self._distance(one, subsumer) + self._distance(other, subsumer)
        return 2 * depth / (ways + 2 * depth)

    def _distance(self, one: int, other: int) -> int:
        mine, theirs = self._ancestors(one), self._ancestors(other)
        return min(mine[c] + theirs[c] for c in mine.keys() & theirs.keys())

    def _walk(self, meaning: int) -> dict[int, int]:
        """Return a meaning and all above it, each with its fewest steps."""
        steps, edge, far = {meaning: 0}, [meaning], 0
        while edge:
            far += 1
            edge = [up for at in edge for up in self._above.get(at, ()) if up not in steps]
            steps.update(dict.fromkeys(edge, far))
        return steps

    def _measure(self, meaning: int) -> tuple[int, int]:
        """Return the fewest and the most steps from a meaning to a root."""
        above = [self._depths(up) for up in self._above.get(meaning, ())]
        if not above:
            return 0, 0
        return 1 + min(low for low, _ in above), 1 + max(high for _, high in above)


def _find() -> Path:
    for place in (os.environ.get("WNSEARCHDIR"), *PLACES):  # the variable is WordNet's own
        if place and (folder := Path(place).expanduser() / "data.noun").is_file():
            return folder.parent
    raise MissingData(
        "WUPS needs WordNet, which is not here: install Debian's package wordnet-base, or run "
        "python -m nltk.downloader wordnet and unpack it, or name its folder with --wordnet"
    )


def _lines(path: Path) -> list[str]:
    """Return a file's lines without the licence, which is set off by blanks."""
    whole = path.read_text(encoding="utf-8").splitlines()
    return [line for line in whole if line and not line.startswith(" ")]


def _read_index(path: Path) -> dict[str, list[int]]:
    # wndb(5WN): lemma pos synset_cnt p_cnt [symbols] sense_cnt tagsense_cnt offsets
    found = {}
    for line in _lines(path):
        fields = line.split()
        found[fields[0]] = [int(n) for n in fields[-int(fields[2]) :]]
    return found


def _read_data(path: Path) -> tuple[dict[int, str], dict[int, tuple[int, ...]]]:
    # wndb(5WN): offset file type w_cnt (word id)... p_cnt (symbol offset pos source)... | gloss
    names, above = {}, {}
    for line in _lines(path):
        fields = line.partition(" | ")[0].split()
        offset, words = int(fields[0]), int(fields[3], 16)
        at = 4 + 2 * words
        pointers = fields[at + 1 : at + 1 + 4 * int(fields[at])]
        names[offset] = fields[4].lower()
        above[offset] = tuple(
            int(to)
            for symbol, to, sort in zip(pointers[::4], pointers[1::4], pointers[2::4], strict=True)
            if symbol in _HYPERNYMS and sort == "n"
        )
    return names, above


def _read_exceptions(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        return {}
    return {word: forms for word, *forms in (line.split() for line in _lines(path))}
