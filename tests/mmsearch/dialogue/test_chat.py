"""`mmsearch chat` against a real server on loopback whose replies are scripted."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mmsearch.cli.conftest import Mmsearch
from tests.mmsearch.dialogue.server import Script, calls, says, serving


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as served:
        yield served


def chat(call: Mmsearch, script: Script, *more: str) -> Any:
    return call("chat", *more, "--endpoint", script.url, "--chat-model", "m")


def results(script: Script) -> list[Any]:
    """Return what the tools gave, as the last request holds it."""
    messages = script.requests[-1][1]["messages"]
    return [json.loads(m["content"]) for m in messages if m["role"] == "tool"]


def test_the_model_searches_and_answers(
    indexed: Mmsearch, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMSEARCH_CHAT_KEY", "secret")
    script.replies = [
        calls(("search", {"query": "blue", "limit": 1}), ("filter", {"where": "width = 40"})),
        says("It is blue.png.\x1b[2J"),
    ]
    done = chat(indexed, script, "something blue?")
    assert done.code == 0
    assert done.out == "It is blue.png.\\x1b[2J\n"
    assert 'search {"query": "blue", "limit": 1}' in done.err
    found, filtered = results(script)
    assert [hit["name"] for hit in found] == ["blue.png"]
    assert filtered["matching"] == 3
    headers, body = script.requests[0]
    assert headers["Authorization"] == "Bearer secret"
    assert body["model"] == "m"
    assert [t["function"]["name"] for t in body["tools"]] == ["search", "filter"]
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    assert [m["role"] for m in script.requests[1][1]["messages"]] == [
        "system", "user", "assistant", "tool", "tool",
    ]  # fmt: skip


def test_the_key_may_be_in_another_variable(
    indexed: Mmsearch, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", "other")
    script.replies = [says("Hello.")]
    assert chat(indexed, script, "hello", "--key-env", "THEIR_KEY").code == 0
    assert script.requests[0][0]["Authorization"] == "Bearer other"


HOSTILE = [
    ("search", "not json"),
    ("search", "[]"),
    ("search", {"query": ""}),
    ("search", {}),
    ("search", {"query": "x" * 5_000}),
    ("search", {"query": "red", "limit": 10**9}),
    ("search", {"query": "red", "limit": True}),
    ("search", {"query": ["red"]}),
    ("search", {"query": "red", "kind": "database"}),
    ("search", {"query": "red", "image": "/etc/passwd"}),
    ("filter", {"where": "1=1; DROP TABLE items"}),
    ("filter", {"where": ""}),
    ("delete", {"key": "all"}),
    ("__init__", {}),
    ("ask", {"key": "red", "question": "?"}),  # no answerer, no such tool
]


def test_hostile_calls_are_errors_for_the_model_and_change_nothing(
    indexed: Mmsearch, script: Script, tmp_path: Path
) -> None:
    def rows() -> list[Any]:
        opened = sqlite3.connect(tmp_path / "store" / "meta.db")
        named = opened.execute("select name from sqlite_master where type = 'table' order by 1")
        found = [opened.execute(f"select count(*) from {t}").fetchone() for (t,) in [*named]]
        opened.close()
        return found

    before = rows()
    script.replies = [calls(*HOSTILE[:8]), calls(*HOSTILE[8:]), says("sorry")]
    done = chat(indexed, script, "hello")
    assert (done.code, done.out) == (0, "sorry\n")
    for call, result in zip(HOSTILE, results(script), strict=True):
        assert list(result) == ["error"], call
    assert rows() == before


def test_a_model_that_only_calls_is_stopped(indexed: Mmsearch, script: Script) -> None:
    script.replies = [calls(("search", {"query": "red"}))] * 3
    done = chat(indexed, script, "loop", "--steps", "3")
    assert done.code == 0
    assert len(script.requests) == 3
    assert script.requests[-1][1]["tools"] == []  # the last reply must be an answer


def test_many_calls_at_once_are_cut(indexed: Mmsearch, script: Script) -> None:
    script.replies = [calls(*[("search", {"query": "red"})] * 20), says("ok")]
    assert chat(indexed, script, "many").code == 0
    made = results(script)
    assert len(made) == 20
    assert made[7:9] == [made[0], {"error": "too many calls at once"}]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (500, "answers 500"),
        (302, "answers 302"),  # the key goes to no other place
        (b"no json", "no chat completion"),
        ({"choices": []}, "no chat completion"),
        ({"choices": [{"message": "x"}]}, "no chat completion"),
    ],
)
def test_a_broken_server_is_one_line(
    indexed: Mmsearch, script: Script, reply: Any, reason: str
) -> None:
    script.replies = [reply]
    done = chat(indexed, script, "hello")
    assert done.code == 4
    assert reason in done.err
    assert len(done.err.splitlines()) == 1


def test_calls_that_are_garbage_do_not_end_the_dialogue(indexed: Mmsearch, script: Script) -> None:
    message = {"role": "assistant", "tool_calls": [7, {"function": 1}, {"id": 3}]}
    script.replies = [{"choices": [{"message": message}]}, says("fine")]
    done = chat(indexed, script, "hello")
    assert done.out == "fine\n"
    assert [list(r) for r in results(script)] == [["error"]] * 3


def test_a_server_that_never_answers_is_given_up(indexed: Mmsearch, script: Script) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        script.url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        done = chat(indexed, script, "hello", "--timeout", "1")
    assert done.code == 4
    assert "cannot be reached" in done.err


def test_lines_are_one_dialogue_and_an_error_ends_one_answer(
    indexed: Mmsearch, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("one\n\ntwo\nthree\n"))
    script.replies = [says("first"), 500, says("third")]
    done = chat(indexed, script)
    assert done.out == "first\nthird\n"
    assert done.code == 4
    said = [m["content"] for m in script.requests[-1][1]["messages"][1:]]
    assert said == ["one", "first", "three"]


def test_without_a_model_it_says_so(indexed: Mmsearch) -> None:
    done = indexed("chat", "hello")
    assert done.code == 4
    assert done.err.startswith("mmsearch: no language model")
    assert len(done.err.splitlines()) == 1
    assert indexed("chat", "hello", "--endpoint", "ftp://x", "--chat-model", "m").code == 4


def test_a_local_model_of_its_real_class_plans(indexed: Mmsearch, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    tf = pytest.importorskip("transformers")
    from tests.mmsearch.answering.models import tokenizer
    from tests.mmsearch.encoders.hf_models import SMALL, WORDS

    folder = tmp_path / "llm"
    config = tf.LlamaConfig(**SMALL, vocab_size=len(WORDS), max_position_embeddings=1024,
                            bos_token_id=2, eos_token_id=3, pad_token_id=0)  # fmt: skip
    tf.LlamaForCausalLM(config).save_pretrained(folder)
    made = tokenizer(folder)
    assert indexed("chat", "hello", "--chat-model", folder, "--device", "cpu").code == 4
    made.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    made.save_pretrained(folder)
    done = indexed("chat", "two dogs", "--chat-model", folder, "--device", "cpu", "--threads", "1",
                   "--timeout", "3")  # fmt: skip
    assert done.code == 0, done.err
    assert done.out


def test_calls_in_a_written_reply_are_found() -> None:
    from mmsearch.dialogue.planners import calls_in

    text = 'Let me see. <tool_call>\n{"name": "search", "arguments": {"query": "a"}}\n</tool_call>'
    message = calls_in(text)
    assert message["content"] == "Let me see."
    assert message["tool_calls"][0]["function"] == {"name": "search", "arguments": '{"query": "a"}'}
    assert "tool_calls" not in calls_in("no call")
    assert calls_in("<tool_call>{broken}</tool_call>")["tool_calls"][0]["function"]["name"] == ""
