"""Filters mean what they say, on the real SQL."""

from __future__ import annotations

import pytest

from index_store import (
    AllOf,
    AnyOf,
    Collection,
    Compare,
    Contains,
    Exists,
    Glob,
    Has,
    In,
    Item,
    Not,
    Prefix,
    Where,
)
from index_store.errors import BadFilter, StoreError
from index_store.where import path_glob
from tests.index_store.conftest import one_hot

ITEMS = [
    Item("/a/beach/1.jpg", meta={"width": 100, "camera": "Canon EOS"}),
    Item("/a/beach/2.jpg", meta={"width": 2000, "camera": "NIKON"}),
    Item("/b/50%_[x].jpg", meta={"width": 3000.5}),
    Item("/b/t", "text", text="A dog", meta={"width": "wide"}),
]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Compare("width", ">", 100), "12"),
        (Compare("width", ">=", 100), "012"),
        (Compare("width", "=", "wide"), "3"),
        (Compare("width", "<", 10**30), "012"),
        (Compare("camera", "!=", "NIKON"), "0"),
        (Not(Compare("camera", "=", "NIKON")), "023"),
        (Contains("camera", "canon"), "0"),
        (Contains("key", "%_"), "2"),
        (Glob("key", "/a/*"), "01"),
        (path_glob("beach/*.jpg"), "01"),
        (path_glob("/b/*"), "23"),
        (Prefix("key", "/b/50%_["), "2"),
        (In("width", (100, 3000.5, "wide")), "023"),
        (In("width", ()), ""),
        (Exists("camera"), "01"),
        (Compare("kind", "=", "text"), "3"),
        (Contains("text", "DOG"), "3"),
        (AllOf(), "0123"),
        (AnyOf(), ""),
        (AnyOf(Compare("width", "=", 100), Exists("camera")), "01"),
        (AllOf(Compare("width", ">", 1), Not(Exists("camera"))), "2"),
        (Compare("camera", "=", "' OR 1=1 --"), ""),
    ],
)
def test_a_filter_passes_what_it_says(collection: Collection, where: Where, expected: str) -> None:
    collection.add(ITEMS, one_hot(0, 1, 2, 3))
    found = collection.keys(where)
    assert found == sorted(ITEMS[int(i)].key for i in expected)


LISTS = [
    Item("a", meta={"keywords": ["Beach", "Café au lait"]}),
    Item("b", meta={"keywords": []}),
    Item("c", meta={"keywords": "beach"}),
    Item("d"),
]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Has("keywords", "beach"), "ac"),
        (Has("keywords", "cafe"), ""),
        (Has("keywords", " CAFÉ AU LAIT"), "a"),
        (Has("keywords", "bea"), ""),
        (Has("key", "D"), "d"),
        (Contains("keywords", "BEA"), "ac"),
        (Glob("keywords", "Caf*"), "a"),
        (Compare("keywords", "=", "Beach"), "a"),
        (Compare("keywords", ">", 1), ""),
        (Not(Has("keywords", "beach")), "bd"),
        (Exists("keywords"), "abc"),
    ],
)
def test_of_a_list_one_text_is_enough(collection: Collection, where: Where, expected: str) -> None:
    collection.add(LISTS, one_hot(0, 1, 2, 3))
    assert "".join(collection.keys(where)) == expected


def test_a_list_comes_back_as_it_was_stored(collection: Collection) -> None:
    collection.add(LISTS, one_hot(0, 1, 2, 3))
    assert collection.get(["a"])[0] == LISTS[0]
    with pytest.raises(StoreError, match="list of texts"):
        collection.add([Item("e", meta={"keywords": ["x", 1]})], one_hot(0))  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["", "a b", "a'b", 'a"b', "a)b", "1a"])
def test_a_field_name_that_could_break_out_of_the_sql_is_refused(
    collection: Collection, name: str
) -> None:
    with pytest.raises(BadFilter):
        collection.keys(Compare(name, "=", 1))


def test_an_endlessly_nested_filter_is_refused(collection: Collection) -> None:
    where: Where = Exists("x")
    for _ in range(40):
        where = Not(where)
    with pytest.raises(BadFilter, match="deeper"):
        collection.keys(where)


def test_as_many_conditions_as_one_likes_stand_beside_each_other(collection: Collection) -> None:
    collection.add(ITEMS, one_hot(*range(len(ITEMS))))
    many = tuple(Compare("width", "=", n) for n in range(1900, 5000))
    assert collection.keys(AnyOf(*many)) == ["/a/beach/2.jpg"]
    assert collection.keys(AllOf(*(Not(one) for one in many[101:]))) == sorted(
        item.key for item in ITEMS
    )


def test_what_is_no_filter_is_said_to_be_none(collection: Collection) -> None:
    with pytest.raises(BadFilter, match="'width > 1' is no filter"):
        collection.keys("width > 1")  # type: ignore[arg-type]
    with pytest.raises(BadFilter, match="no valid Unicode"):
        collection.keys(Contains("text", "caf\udce9"))
    assert collection.get(["caf\udce9"]) == []
