"""A tokenizer of few words cuts them as the whole one does, or is not made."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from mmsearch.encoders import STARTER
from mmsearch.encoders.bundle import read_bundle
from mmsearch.encoders.token_table import TokenTable, cached_table, table_of
from mmsearch.encoders.tokens import Tokens
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


@pytest.fixture
def table():
    """Return a function from a tokenizer, or what it says, to its table."""
    with ExitStack() as stack:
        yield lambda whole: stack.enter_context(
            closing(TokenTable(table_of(whole if isinstance(whole, str) else whole.to_str())))
        )


@pytest.mark.parametrize("make", [clip_like, gemma_like, starter])
def test_a_part_of_the_vocabulary_cuts_texts_as_the_whole_does(make, table):
    whole = make()
    made = 0
    for texts in (*([t] for t in TEXTS), TEXTS[:2], TEXTS):
        part = partial_tokenizer(table(whole), texts, ["<pad>"])
        if part is None:
            continue
        made += 1
        assert part.get_vocab_size() < whole.get_vocab_size()
        assert part.token_to_id("<pad>") == whole.token_to_id("<pad>")
        for text in texts:
            assert part.encode(text).ids == whole.encode(text).ids
            assert part.encode(text).tokens == whole.encode(text).tokens
    assert made > 2


def test_a_token_that_was_added_beyond_the_vocabulary_keeps_its_number(table):
    whole = starter()
    whole.add_special_tokens(["[NEW]"])
    part = partial_tokenizer(table(whole), ["a dog"])
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
def test_the_whole_is_left_to_do_what_a_part_may_not(make, text, table):
    assert partial_tokenizer(table(make()), ["dogs", text]) is None


def test_merges_written_as_texts_are_understood(table):
    whole = clip_like()
    old = json.loads(whole.to_str())
    old["model"]["merges"] = [" ".join(pair) for pair in old["model"]["merges"]]
    part = partial_tokenizer(table(json.dumps(old)), TEXTS[:1])
    assert part is not None
    assert part.encode(TEXTS[0]).ids == whole.encode(TEXTS[0]).ids


def test_a_model_of_another_sort_is_left_whole(table):
    whole = Tokenizer(models.Unigram([("<unk>", 0.0), ("dog", -1.0)], unk_id=0))
    assert partial_tokenizer(table(whole), ["dog"]) is None


def test_the_table_is_kept_for_the_very_same_file(tmp_path, own_caches):
    def numbers(*tokens: str) -> dict[str, int]:
        found = cached_table(path)
        assert found is not None
        with closing(found):
            return found.numbers(tokens)

    path = tmp_path / "tokenizer.json"
    clip_like().save(str(path))
    assert numbers("<start>", "no such") == {"<start>": 0}
    (kept,) = (own_caches / "mmsearch" / "tokens").iterdir()
    written = kept.stat().st_mtime_ns
    assert numbers("<end>") == {"<end>": 1}
    assert kept.stat().st_mtime_ns == written
    starter().save(str(path))
    assert numbers("<start>", "dog") == {"dog": starter().token_to_id("dog")}


@pytest.mark.parametrize("junk", [b"", b"junk" * 2_000])
def test_a_damaged_table_is_thrown_away_and_the_whole_tokenizer_loaded(tiny, own_caches, junk):
    folder = tiny("masked")
    starter().save(str(folder / "textual" / "tokenizer.json"))
    bundle = read_bundle(folder)
    whole = Tokens(bundle, 8)(["a dog"], whole=True)[0]
    tables = own_caches / "mmsearch" / "tokens"
    for there in (True, False, True):
        assert (Tokens(bundle, 8, ["a dog"])(["a dog"], whole=True)[0] == whole).all()
        assert any(tables.iterdir()) == there
        for kept in tables.iterdir():
            kept.write_bytes(junk)


def test_no_place_for_the_table_is_no_trouble(tiny, own_caches):
    (own_caches / "mmsearch").mkdir(exist_ok=True)
    (own_caches / "mmsearch" / "tokens").write_text("a file where the folder should be")
    folder = tiny("masked")
    starter().save(str(folder / "textual" / "tokenizer.json"))
    bundle = read_bundle(folder)
    few, all_ = Tokens(bundle, 8, ["a dog"]), Tokens(bundle, 8)
    assert (few(["a dog"], whole=True)[0] == all_(["a dog"], whole=True)[0]).all()


def test_texts_that_were_not_announced_get_the_whole_tokenizer(tiny):
    folder = tiny("masked")
    starter().save(str(folder / "textual" / "tokenizer.json"))
    bundle = read_bundle(folder)
    few, all_ = Tokens(bundle, 8, ["a dog"]), Tokens(bundle, 8)
    for texts in (["a dog"], ["a dog", "an elephant"], ["a dog"]):
        assert (few(texts, whole=True)[0] == all_(texts, whole=True)[0]).all()
    assert few.id_of("elephant") == all_.id_of("elephant") is not None
