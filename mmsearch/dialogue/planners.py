"""Language models that plan: a chat completions endpoint, or a model of transformers here.

Both take messages and tools as the chat completions API has them, and give its message back.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from mmsearch.errors import ModelUnavailable

if TYPE_CHECKING:
    from mmsearch.encoders.pretrained import Loaded

Message = dict[str, Any]
REPLY_BYTES = 4 << 20
_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


class Planner(Protocol):
    """Goes on with a dialogue."""

    def reply(
        self, messages: Sequence[Message], tools: Sequence[Message], *, seconds: float
    ) -> Message:
        """Return the assistant's next message: text under `content`, or `tool_calls`.

        Args:
            messages: the dialogue so far.
            tools: that may be called.
            seconds: that it may take.

        Raises:
            ModelUnavailable: no answer in time, or one that is no such message.
        """
        ...


class Endpoint:
    """An OpenAI-compatible server.

    Args:
        url: up to and with the version, as in http://127.0.0.1:8000/v1.
        model: the name that the server knows it by.
        key: sent as a bearer token; "" for none.

    Raises:
        ModelUnavailable: the URL is none of http or https.
    """

    def __init__(self, url: str, model: str, *, key: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelUnavailable(f"no endpoint: {url!r}; write http://HOST:PORT/v1")
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model, self._key = model, key
        # No redirects: the key and the dialogue go where the user said, and nowhere else.
        self._opener = urllib.request.build_opener(_NoRedirect)

    def reply(
        self, messages: Sequence[Message], tools: Sequence[Message], *, seconds: float
    ) -> Message:
        """Return the first choice's message. Raises as `Planner.reply`."""
        body = {"model": self._model, "messages": [*messages], "tools": [*tools]}
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        try:
            with self._opener.open(request, timeout=max(seconds, 0.1)) as answer:
                raw = _read(answer, time.monotonic() + seconds)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(300).decode("utf-8", "replace").strip()
            raise ModelUnavailable(f"{self._url} answers {error.code}: {said}") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ModelUnavailable(f"{self._url} cannot be reached: {reason}") from error
        return self._message(raw)

    def _message(self, raw: bytes) -> Message:
        if len(raw) > REPLY_BYTES:
            raise ModelUnavailable(f"{self._url} sent more than {REPLY_BYTES >> 20} MB")
        try:
            message = json.loads(raw)["choices"][0]["message"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise ModelUnavailable(f"{self._url} sent no chat completion") from error
        if not isinstance(message, dict):
            raise ModelUnavailable(f"{self._url} sent no chat completion")
        return message


class Local:
    """A causal language model of transformers whose chat template takes tools.

    It calls a tool by <tool_call>{"name": ..., "arguments": {...}}</tool_call>, as Qwen and
    Hermes were trained to.
    """

    TOKENS = 512

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        if not getattr(loaded.processor, "chat_template", None):
            raise ModelUnavailable(f"{loaded.folder} has no chat template")

    def reply(
        self, messages: Sequence[Message], tools: Sequence[Message], *, seconds: float
    ) -> Message:
        """Return what the model writes, its calls read. Raises as `Planner.reply`."""
        from mmsearch.encoders.pretrained import refusals

        with refusals(self._loaded.folder):
            given = self._loaded.moved(
                self._loaded.processor.apply_chat_template(
                    [*messages], tools=[*tools], add_generation_prompt=True, tokenize=True,
                    return_dict=True, return_tensors="pt",
                )
            )  # fmt: skip
            made = self._loaded.model.generate(
                **given, do_sample=False, max_new_tokens=self.TOKENS, max_time=seconds
            )
            written = made[0, given["input_ids"].shape[1] :]
            text = self._loaded.processor.decode(written, skip_special_tokens=True)
        return calls_in(text)


def calls_in(text: str) -> Message:
    """Return a written reply as a message: what stands in <tool_call> are its calls."""
    calls = []
    for n, found in enumerate(_CALL.finditer(text)):
        try:
            call = json.loads(found[1])
        except (ValueError, RecursionError):
            call = {}
        if not isinstance(call, dict):
            call = {}
        function = {
            "name": call.get("name", ""),
            "arguments": json.dumps(call.get("arguments", {})),
        }
        calls.append({"id": f"call-{n}", "type": "function", "function": function})
    message: Message = {"role": "assistant", "content": _CALL.sub("", text).strip()}
    return message | ({"tool_calls": calls} if calls else {})


def open_local(argument: str, *, threads: int | None, device: str | None) -> Local:
    """Return the planner in a folder.

    Raises:
        ModelUnavailable: it is not to be had, damaged, or no language model with a template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mmsearch.encoders.pretrained import load

    return Local(load(AutoModelForCausalLM, argument, spec="", model_type=None, threads=threads,
                      device=device, processor=AutoTokenizer))  # fmt: skip


def _read(answer: Any, end: float) -> bytes:
    """Return the body, or as much as is too much; a server that drips is given up.

    Raises:
        TimeoutError: it isn't complete in time.
    """
    parts, size = [], 0
    while size <= REPLY_BYTES and (part := answer.read1(65_536)):
        parts.append(part)
        size += len(part)
        if time.monotonic() > end:
            raise TimeoutError("no complete answer in time")
    return b"".join(parts)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow nothing: the answer comes out as an HTTPError."""
