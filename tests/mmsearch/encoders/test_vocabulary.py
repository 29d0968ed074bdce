"""A tokenizer of few words cuts them as the whole one does, or is not made."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from mmsearch.encoders import STARTER
from mmsearch.encoders.vocabulary import partial_tokenizer

TEXTS = (
    "two dogs running in the snow", "a man's red-and-white T-shirt, 1984!", "", " ",
    "unbelievableness of counterrevolutionaries", "naïve café in Zürich", "犬と猫", "don't   stop",
    "a photo of a cat (sleeping) on a keyboard", "👩‍👩‍👧 smile", "x" * 60,
)  # fmt: skip


def clip_like() -> Tokenizer:
    """Return byte-level BPE with a mark at the end of each word, as CLIP's."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<end>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<start>", "<end>"], end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([t for t in TEXTS for _ in range(3)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    return tokenizer


def gemma_like() -> Tokenizer:
    """Return BPE over the whole text, which has bytes for what it cannot spell."""
    alphabet = sorted({c for t in TEXTS[:2] for c in t.replace(" ", "▁")})
    tokens = ["<unk>", "<pad>", *(f"<0x{b:02X}>" for b in range(256)), *alphabet]
    merges = [("d", "o"), ("do", "g"), ("▁", "dog"), ("t", "h"), ("th", "e"), ("▁", "the")]
    tokens += [a + b for a, b in merges]
    vocab = {token: n for n, token in enumerate(tokens)}
    model = models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.add_special_tokens(["<pad>"])
    return tokenizer


def starter() -> Tokenizer:
    return Tokenizer.from_file(str(STARTER / "textual" / "tokenizer.json"))  # WordPiece


@pytest.mark.parametrize("make", [clip_like, gemma_like, starter])
def test_a_part_of_the_vocabulary_cuts_texts_as_the_whole_does(make):
    whole = make()
    made = 0
    for texts in (*([t] for t in TEXTS), TEXTS[:2], TEXTS):
        part = partial_tokenizer(whole.to_str(), texts, ["<pad>"])
        if part is None:
            continue
        made += 1
        assert part.get_vocab_size() < whole.get_vocab_size()
        assert part.token_to_id("<pad>") == whole.token_to_id("<pad>")
        for text in texts:
            assert part.encode(text).ids == whole.encode(text).ids
            assert part.encode(text).tokens == whole.encode(text).tokens
    assert made > 2


def test_a_token_that_was_added_beyond_the_vocabulary_keeps_its_number():
    whole = starter()
    whole.add_special_tokens(["[NEW]"])
    part = partial_tokenizer(whole.to_str(), ["a dog"])
    assert part is not None
    assert part.token_to_id("[NEW]") == whole.token_to_id("[NEW]") == whole.get_vocab_size() - 1
    assert part.encode("a dog").ids == whole.encode("a dog").ids


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (clip_like, "what is <start> here"),  # an added token
        (gemma_like, "犬"),  # no token of its own: bytes
        (clip_like, "y" * 200),  # too many parts
        (starter, "a [MASK] dog"),
    ],
)
def test_the_whole_is_left_to_do_what_a_part_may_not(make, text):
    assert partial_tokenizer(make().to_str(), ["dogs", text]) is None


def test_merges_written_as_texts_are_understood():
    whole = clip_like()
    old = json.loads(whole.to_str())
    old["model"]["merges"] = [" ".join(pair) for pair in old["model"]["merges"]]
    part = partial_tokenizer(json.dumps(old), TEXTS[:1])
    assert part is not None
    assert part.encode(TEXTS[0]).ids == whole.encode(TEXTS[0]).ids
