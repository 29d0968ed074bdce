"""How right an answer is: VQA accuracy, exact match, token F1, WUPS; one answer a call.

All scores are 0 to 1, higher is better.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from math import prod

Similarity = Callable[[str, str], float]  # of two single answers, 0 to 1

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = {
    word: str(n)
    for n, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
# As the official code has it: "(?!<=" is no look-behind, so only the digit after a point counts.
_POINT = re.compile(r"\.(?!\d)")
_NOT = (
    "ain't", "aren't", "can't", "couldn't", "didn't", "doesn't", "don't", "hadn't", "hasn't",
    "haven't", "isn't", "mightn't", "mustn't", "needn't", "oughtn't", "shan't", "shouldn't",
    "wasn't", "weren't", "won't", "wouldn't",
)  # fmt: skip
_WHOLE = (
    "i'm", "i've", "i'd've", "let's", "ma'am", "o'clock", "y'all", "'twas", "they're",
    "there're", "you're", "what're", "why're", "could've", "might've", "must've", "should've",
    "would've", "not've", "you've", "they've", "we've", "who've", "what've", "where've", "he'd",
    "he'd've", "she'd've", "they'd", "they'd've", "we'd've", "who'd", "who'd've", "you'd",
    "you'd've", "it'd", "it'd've", "how'd", "there'd", "where'd", "someone'd", "somebody'd",
    "something'd", "how'll", "it'll", "somebody'll", "someone'll", "something'll", "they'll",
    "what'll", "who'll", "why'll", "you'll", "he's", "how's", "somebody's", "someone's",
    "that's", "there's", "what's", "when's", "where's", "who's", "why's", "y'all'll",
    "y'all'd've",
)  # fmt: skip


def _without_some_apostrophes(word: str) -> set[str]:
    """Return the ways to write a contraction with at least one apostrophe left out."""
    parts = word.split("'")
    joints = product(("", "'"), repeat=len(parts) - 1)
    ways = ("".join(a + b for a, b in zip(parts, [*joint, ""], strict=True)) for joint in joints)
    return {way for way in ways if way != word}


_CONTRACTIONS = {
    way: word
    for word in (*_NOT, *(f"{n}'ve" for n in _NOT if n in {"couldn't", "hadn't", "mightn't",
                                                          "shouldn't", "wouldn't"}), *_WHOLE)
    for way in _without_some_apostrophes(word)
}  # fmt: skip


def normalise_vqa(answer: str) -> str:
    """Return an answer as the official VQA evaluation compares it.

    Lower case, no articles, numbers as digits, no punctuation, contractions with their
    apostrophes.
    """
    # arXiv:1505.00468, appendix; the rules of the official evaluation code for VQA v2.
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    for mark in _PUNCTUATION:
        if f"{mark} " in text or f" {mark}" in text or _COMMA_IN_NUMBER.search(text):
            text = text.replace(mark, "")
        else:
            text = text.replace(mark, " ")
    words = (_NUMBERS.get(w, w) for w in _POINT.sub("", text).lower().split())
    return " ".join(_CONTRACTIONS.get(w, w) for w in words if w not in _ARTICLES)


def vqa_accuracy(answer: str, given: Sequence[str]) -> float:
    """Return the official VQA accuracy of an answer against what people said.

    An answer is right where three of the others said it: min(matches / 3, 1), averaged over
    the ways to leave one person out. As in the official code, the people's answers are
    normalised only where they differ, and so is the answer.

    Args:
        answer: what is judged.
        given: of VQA ten; with a single one it is exact match.

    Raises:
        ValueError: nobody said anything.
    """
    if not given:
        raise ValueError("no answers to compare with")
    if len(given) == 1:
        return float(normalise_vqa(answer) == normalise_vqa(given[0]))
    people = [g.replace("\n", " ").replace("\t", " ").strip() for g in given]
    said = answer.replace("\n", " ").replace("\t", " ").strip()
    if len(set(people)) > 1:
        people = [normalise_vqa(p) for p in people]
        said = normalise_vqa(said)
    # arXiv:1505.00468, section 3: accuracy = min(#humans / 3, 1), over the 10 choose 9 subsets.
    matches = sum(p == said for p in people)
    scores = [min((matches - (p == said)) / 3, 1.0) for p in people]
    return sum(scores) / len(scores)


def normalise_squad(answer: str) -> str:
    """Return an answer in lower case, without punctuation, articles and double blanks."""
    # SQuAD's evaluation (arXiv:1606.05250, section 6.1).
    kept = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(w for w in kept.split() if w not in _ARTICLES)


def exact_match(answer: str, given: Sequence[str]) -> float:
    """Return 1.0 if the answer is one of the given, capitals, punctuation and articles aside."""
    return float(normalise_squad(answer) in {normalise_squad(g) for g in given})


def token_f1(answer: str, given: Sequence[str]) -> float:
    """Return the F1 of the answer's words against the given answer that it fits best.

    Two answers without words are equal; one without words has 0 against any other.
    """
    return max((_f1(normalise_squad(answer), normalise_squad(g)) for g in given), default=0.0)


def set_match(answers: Sequence[str], right: Sequence[str]) -> float:
    """Return 1.0 if the two sets of answers are equal, whatever their order; DAQUAR's accuracy."""
    return float(set(answers) == set(right))


def wups(answers: Sequence[str], right: Sequence[str], similarity: Similarity) -> float:
    """Return the WUPS of a set of answers: how alike it is to the right set, both ways.

    Args:
        answers: what is judged; an empty set is wrong, unless nothing was right.
        right: all of the right answer's parts.
        similarity: of two parts, thresholded already (`wordnet.WuPalmer`).
    """
    if not answers or not right:
        return float(not answers and not right)
    # arXiv:1410.0210, eq. 7: min of the two products over best matches.
    forth = prod(max(similarity(a, t) for t in right) for a in answers)
    back = prod(max(similarity(a, t) for a in answers) for t in right)
    return min(forth, back)


def _f1(one: str, other: str) -> float:
    mine, theirs = one.split(), other.split()
    if not mine or not theirs:
        return float(mine == theirs)
    common = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * common / (len(mine) + len(theirs))
