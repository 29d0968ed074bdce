"""Plug-ins by name."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from mmsearch.errors import MissingExtra, UnknownName
from mmsearch.registry import Registry

REGISTRY: Registry[object] = Registry(
    "thing",
    {
        "counter": "collections:Counter",
        "absent": "no_such_module_at_all:x",
        "broken": "json:no_such_attribute",
        "optional": "no_such_extra_module.part:x",
    },
    extras={"no_such_extra_module": "torch"},
)


def test_a_name_gives_its_factory() -> None:
    assert REGISTRY.make("counter")("aab") == {"a": 2, "b": 1}


def test_an_unknown_name_lists_and_guesses() -> None:
    with pytest.raises(UnknownName, match="did you mean 'counter'") as error:
        REGISTRY.make("conter")
    assert error.value.known == ["absent", "broken", "counter", "optional"]


def test_a_missing_extra_says_what_to_install_and_other_trouble_comes_out_as_itself() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'mmsearch\[torch\]'"):
        REGISTRY.make("optional")
    with pytest.raises(ModuleNotFoundError):
        REGISTRY.make("absent")
    with pytest.raises(AttributeError):
        REGISTRY.make("broken")


def test_third_parties_register_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    found = EntryPoint("theirs", "collections:OrderedDict", "mmsearch.things")
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group: [found] if group == "mmsearch.things" else [],
    )
    assert "theirs" in REGISTRY.names()
    assert REGISTRY.make("theirs")(a=1) == {"a": 1}
