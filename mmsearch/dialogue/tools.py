"""What the model may call: searches, filters and questions. Nothing here writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from index_store.errors import StoreError
from mmsearch.answering import Answerer
from mmsearch.answering.asking import ask_items
from mmsearch.dialogue.planners import Message
from mmsearch.errors import MmsearchError
from mmsearch.filters import parse_where
from mmsearch.search import Engine
from mmsearch.types import Item, Query
from mmsearch.uris import path_of

MOST = 20  # items of one call
TEXT = 300  # characters of a text item
RESULT = 20_000  # characters of one result
WHERE = {
    "type": "string",
    "description": 'Filter over metadata, such as: taken >= 2024 and camera ~ "canon"; fields are '
    "taken, width, height, camera, lens, format.",
}
LIMIT = {"type": "integer", "minimum": 1, "maximum": MOST}


class Tools:
    """The tools over one collection. `seen` holds the items that were returned, by key."""

    def __init__(self, engine: Engine, answerer: Answerer | None = None) -> None:
        self._engine, self._answerer = engine, answerer
        self.seen: dict[str, Item] = {}
        self._tools: dict[str, tuple[Message, Callable[..., Any]]] = {
            "search": (_SEARCH, self._search),
            "filter": (_FILTER, self._filter),
        }
        if answerer is not None:
            self._tools["ask"] = (_ASK, self._ask)

    def described(self) -> list[Message]:
        """Return the tools as the chat completions API has them."""
        return [
            {"type": "function", "function": {"name": name, **facts}}
            for name, (facts, _) in self._tools.items()
        ]

    def call(self, name: object, arguments: object) -> str:
        """Return the result of a call as JSON; whatever is wrong with it as {"error": ...}.

        Args:
            name: of the tool, from the model.
            arguments: a JSON object as text, from the model.
        """
        try:
            result = self._run(name, arguments)
        except (MmsearchError, StoreError, _Wrong) as error:
            result = {"error": str(error)}
        text = json.dumps(result, ensure_ascii=False)
        if len(text) > RESULT:
            text = json.dumps({"error": "the result is too long; ask for fewer items"})
        return text

    def _run(self, name: object, arguments: object) -> Any:
        if not isinstance(name, str) or name not in self._tools:
            raise _Wrong(f"no tool {str(name)[:50]!r}; there are {', '.join(self._tools)}")
        facts, function = self._tools[name]
        try:
            given = json.loads(arguments) if isinstance(arguments, str) else arguments
        except (ValueError, RecursionError) as error:
            raise _Wrong("the arguments are no JSON") from error
        if not isinstance(given, dict):
            raise _Wrong("the arguments are no JSON object")
        return function(**_checked(given, facts["parameters"]))

    def _search(
        self, query: str, limit: int = 5, where: str = "", kind: str = "image"
    ) -> list[dict[str, Any]]:
        condition = parse_where(where) if where.strip() else None
        hits = self._engine.search(Query(query, k=limit, kind=kind, where=condition))  # type: ignore[arg-type]
        return [self._shown(hit.item) | {"score": round(hit.score, 4)} for hit in hits]

    def _filter(self, where: str, limit: int = MOST) -> dict[str, Any]:
        collection = self._engine.collection
        keys = collection.keys(parse_where(where))
        return {
            "matching": len(keys),
            "items": [self._shown(i) for i in collection.get(keys[:limit])],
        }

    def _ask(self, key: str, question: str) -> dict[str, Any]:
        assert self._answerer is not None  # else the tool is not there
        items = [i for i in self._engine.collection.get([key]) if i.kind == "image"]
        if not items:
            raise _Wrong(f"no picture has the key {key[:200]!r}; take one from a search")
        (asked,) = ask_items(self._answerer, items, question, k=3)
        if asked.reason:
            raise _Wrong(asked.reason)
        return {"answers": [{"answer": a.text, "score": round(a.score, 3)} for a in asked.answers]}

    def _shown(self, item: Item) -> dict[str, Any]:
        self.seen[item.key] = item
        shown: dict[str, Any] = {"key": item.key, "kind": item.kind}
        if item.uri.startswith("file:"):
            shown["name"] = path_of(item.uri).rpartition("/")[2]
        if item.text:
            shown["text"] = item.text[:TEXT]
        kept = ("taken", "width", "height", "camera")
        return shown | {name: item.meta[name] for name in kept if name in item.meta}


class _Wrong(Exception):
    """A call that cannot be carried out; its message goes to the model."""


def _checked(given: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments, if they are what a tool's schema says."""
    known = schema["properties"]
    for name in schema["required"]:
        if name not in given:
            raise _Wrong(f"the argument {name!r} is missing")
    for name, value in given.items():
        rule = known.get(name)
        if rule is None:
            raise _Wrong(f"no argument {name[:50]!r}; there are {', '.join(known)}")
        if rule["type"] == "string":
            if not isinstance(value, str) or len(value) > 2_000 or "\0" in value:
                raise _Wrong(f"{name} must be a text of at most 2,000 characters")
            if value not in rule.get("enum", [value]):
                raise _Wrong(f"{name} must be one of {', '.join(rule['enum'])}")
        elif not (type(value) is int and rule["minimum"] <= value <= rule["maximum"]):
            raise _Wrong(f"{name} must be from {rule['minimum']} to {rule['maximum']}")
    return given


_SEARCH: Message = {
    "description": "Find pictures (or texts) of the user's collection by a short description.",
    "parameters": {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What it shows, in a few words."},
            "limit": LIMIT,
            "where": WHERE,
            "kind": {"type": "string", "enum": ["image", "text"]},
        },
        "required": ["query"],
    },
}
_FILTER: Message = {
    "description": "Count and list the items whose metadata match, whatever they show.",
    "parameters": {
        "type": "object",
        "properties": {"where": WHERE, "limit": LIMIT},
        "required": ["where"],
    },
}
_ASK: Message = {
    "description": "Ask a question about one picture; a small model answers in a word or two.",
    "parameters": {
        "type": "object",
        "properties": {
            "key": {"type": "string", "description": "Of a picture that a search returned."},
            "question": {"type": "string"},
        },
        "required": ["key", "question"],
    },
}
