"""Texts to token ids, with the bundle's own tokenizer.json; and nothing but `tokenizers`."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmsearch.encoders.bundle import Bundle, Clean, read_json
from mmsearch.encoders.token_table import cached_table
from mmsearch.encoders.vocabulary import partial_tokenizer
from mmsearch.errors import ModelUnavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.int64]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


class Tokens:
    """A bundle's tokenizer. Thread-safe once made.

    Args:
        length: tokens a text may have; longer ones are cut, the closing special token kept.
        first: texts that are asked for first; the tokenizer is loaded for these alone, in a
            tenth of the time, and in full when others come. None: in full at once.

    Raises:
        ModelUnavailable: tokenizer.json is broken.
    """

    def __init__(self, bundle: Bundle, length: int, first: Sequence[str] | None = None) -> None:
        folder = bundle.folder / "textual"
        self._bundle = bundle
        self._clean = bundle.clean
        config = _optional_json(folder / "tokenizer_config.json")
        special = _optional_json(folder / "special_tokens_map.json")
        pads = [_content(named.get("pad_token")) for named in (config, special)]
        separator = _content(config.get("sep_token"))
        only = {self._cleaned(text) for text in first or ()}
        part = load_part(bundle, only, [*pads, separator]) if only else None
        self._only = only if part else None
        self._tokenizer = part or load_tokenizer(bundle)
        own = self._tokenizer.padding or {}
        self._pad = self._pad_id(pads, own)
        # open_clip's order, by the tokenizer's own config: SigLIP pools the last position, so the
        # side matters there.
        self._left = config.get("padding_side", own.get("direction", "right")) == "left"
        self._zeroed: int | None = None
        if bundle.strip_sep:
            self._zeroed = self._id(separator)
        self.set_length(length)

    def set_length(self, length: int) -> None:
        """Cut texts at so many tokens from now on."""
        self._length = length
        self._shorten(self._tokenizer)

    def __call__(self, texts: Sequence[str], *, whole: bool) -> tuple[Ids, Ids]:
        """Return ids and mask, both (n, length of the longest or, if `whole`, the full length).

        The mask is 1 on tokens, 0 on padding.
        """
        texts = [self._cleaned(text) for text in texts]
        if self._only is not None and not self._only.issuperset(texts):
            self._load_whole()
        rows = self._tokenizer.encode_batch(texts)
        counts = [len(row.ids) for row in rows]
        width = self._length if whole else max([1, *counts])
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
            place = slice(width - count, width) if self._left else slice(0, count)
            ids[i, place] = row.ids
            mask[i, place] = 1
        if self._zeroed is not None:
            ids[ids == self._zeroed] = 0
        return ids, mask

    def id_of(self, token: str) -> int | None:
        """Return the id of a special token, if there is one of this text."""
        if self._only is not None:
            self._load_whole()
        return self._id(token)

    def _cleaned(self, text: str) -> str:
        return clean_text(text, self._clean)

    def _load_whole(self) -> None:
        whole = load_tokenizer(self._bundle)
        self._shorten(whole)
        # In this order: another thread may be at `__call__`.
        self._tokenizer, self._only = whole, None

    def _shorten(self, tokenizer: Tokenizer) -> None:
        # Padding and cutting are ours: what tokenizer.json has stored of them is whatever its
        # last user happened to set.
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=self._length)

    def _pad_id(self, names: Sequence[str | None], own: dict[str, Any]) -> int:
        found = (self._id(name) for name in names)
        # OpenAI's CLIP pads with 0.
        return next((n for n in found if n is not None), int(own.get("pad_id", 0)))

    def _id(self, token: str | None) -> int | None:
        found: int | None = None if token is None else self._tokenizer.token_to_id(token)
        return found


def clean_text(text: str, how: Clean) -> str:
    """Return the text as the model's own code would clean it.

    As open_clip's tokenizer.py, but for its repair of broken encodings by ftfy, which only
    changes text that was already garbled.
    """
    if how == "none":
        return text
    if "&" in text:
        import html

        text = html.unescape(html.unescape(text))
    text = text.strip()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.translate(_plain()))
    if how == "canonicalize":
        text = text.replace("_", " ").translate(_NO_PUNCTUATION)
    text = " ".join(text.split())
    return text if how == "whitespace" else text.lower()


@cache
def _plain() -> dict[int, str]:
    """Return what ftfy, which open_clip calls first, does to characters that are not garbled.

    Straight quotes for curly ones, letters for ligatures, full-width letters and half-width kana
    as their usual selves.
    """
    ligatures = [0x132, 0x133, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4), *range(0xFB00, 0xFB05)]
    usual = (*ligatures, 0xFB06, 0x3000, *range(0xFF01, 0xFFF0))
    return {
        **{code: unicodedata.normalize("NFKC", chr(code)) for code in usual},
        **dict.fromkeys([0x2BC, *range(0x2018, 0x201C)], "'"),
        **dict.fromkeys(range(0x201C, 0x2020), '"'),
    }


def load_part(
    bundle: Bundle, texts: Collection[str], also: Sequence[str | None]
) -> Tokenizer | None:
    """Return a tokenizer that knows what these cleaned texts need, and some special tokens.

    None where only the whole one is sure to do the same, or where it is broken.
    """
    with suppress(Exception):  # `load_tokenizer` says what is wrong
        if table := cached_table(_path(bundle)):
            with closing(table):
                return partial_tokenizer(table, texts, also)
    return None


def load_tokenizer(bundle: Bundle) -> Tokenizer:
    """Return the tokenizer of the bundle's tokenizer.json, as it is there.

    Raises:
        ModelUnavailable: it is broken.
    """
    from tokenizers import Tokenizer

    path = _path(bundle)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception for all that is wrong in a file
        raise ModelUnavailable(f"{path} is not a tokenizer: {error}") from error


def _path(bundle: Bundle) -> Path:
    return bundle.folder / "textual" / "tokenizer.json"


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _content(token: Any) -> str | None:
    """Return a special token's text: it is stored bare, or as an object with `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None
