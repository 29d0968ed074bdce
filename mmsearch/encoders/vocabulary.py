"""A tokenizer with that part of its vocabulary which a few texts can use.

A whole one is a tenth of a second to build: CLIP's 49,408 tokens and 48,894 merges go into hash
tables, of which a question of five words looks up some dozens. What BPE and WordPiece cut a word
into depends only on the tokens that are a part of it, so the others may as well be left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmsearch.encoders.token_table import TokenTable

MOST = 20_000  # parts of words that are looked up; of longer texts the whole tokenizer is as fast


def partial_tokenizer(
    table: TokenTable, texts: Collection[str], also: Iterable[str | None] = ()
) -> Tokenizer | None:
    """Return a tokenizer that cuts these texts as the whole one does; None where that is not sure.

    Args:
        table: of the whole one.
        also: tokens that it must know besides, where the whole one does.

    Raises:
        Exception: of sqlite3 or tokenizers, or a LookupError: the table is of no tokenizer.
    """
    from tokenizers import Tokenizer

    model = table.frame["model"]
    if not _understood(model):
        return None
    added = {token["content"]: token["id"] for token in table.frame["added_tokens"]}
    words = _words(table.frame, texts, added)
    parts = None if words is None else _parts(model, words)
    if words is None or parts is None:
        return None
    kept = table.numbers(parts)
    if not _spells(model, kept, words):
        return None
    # Two of a merge may be what no word has: a mark of the end alone.
    merges = [pair for pair in table.merges(kept) if all(token in kept for token in pair)]
    others = table.numbers({t for t in (*also, model.get("unk_token"), *added) if t is not None})
    part = model | {"vocab": kept | added | others}
    if model["type"] == "BPE":
        part["merges"] = merges
    return Tokenizer.from_str(json.dumps(table.frame | {"model": part}))


def _understood(model: dict[str, Any]) -> bool:
    """Return whether it is known how this sort of model cuts words."""
    sort = model.get("type")  # the oldest files do not say
    chance = model.get("dropout") or model.get("continuing_subword_prefix")
    return sort == "WordPiece" or (sort == "BPE" and not chance)


def _words(frame: dict[str, Any], texts: Collection[str], added: dict[str, int]) -> set[str] | None:
    """Return what the texts' words are before they are cut; None if an added token is in them."""
    from tokenizers import Tokenizer

    empty: dict[str, Any] = {"type": "WordLevel", "vocab": {}, "unk_token": ""}
    rest: dict[str, Any] = {
        "added_tokens": [],
        "post_processor": None,
        "decoder": None,
        "model": empty,
    }
    bare = Tokenizer.from_str(json.dumps(frame | rest))
    normalize = bare.normalizer.normalize_str if bare.normalizer else str
    words: set[str] = set()
    for text in texts:
        normal = normalize(text)
        if any(t in text or t in normal or normalize(t) in normal for t in added):
            return None
        cut = bare.pre_tokenizer
        words.update(w for w, _ in cut.pre_tokenize_str(normal)) if cut else words.add(normal)
    return words


def _parts(model: dict[str, Any], words: set[str]) -> set[str] | None:
    """Return all tokens that these words could be cut into; None if they are too many."""
    if sum(len(word) ** 2 for word in words) > MOST:
        return None
    prefix = model.get("continuing_subword_prefix") or ""
    suffix = model.get("end_of_word_suffix") or ""
    parts = {w[i:j] for w in words for i in range(len(w)) for j in range(i + 1, len(w) + 1)}
    ends = {w[i:] + suffix for w in words for i in range(len(w))} if suffix else set()
    return parts | ends | ({prefix + part for part in parts} if prefix else set())


def _spells(model: dict[str, Any], kept: dict[str, int], words: set[str]) -> bool:
    """Return whether BPE has a token for each character, so that it needs no way out (bytes, or
    the unknown token); WordPiece has but one."""
    if model["type"] == "WordPiece":
        return True
    suffix = model.get("end_of_word_suffix") or ""
    return all(c in kept for w in words for c in w[:-1]) and all(
        w[-1:] + suffix in kept for w in words if w
    )
