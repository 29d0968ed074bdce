"""A call that is begun before its result is needed."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """A call in a thread of its own, begun at once. Not `concurrent.futures`, whose import takes
    longer than some of the calls that a query begins so.

    The process does not end before the call does.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._value: list[T] = []
        self._error: Exception | None = None
        self._thread = Thread(target=self._run)
        self._thread.start()

    def result(self) -> T:
        """Return what the call returns, once it has.

        Raises:
            Exception: what the call raises.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._call())
        except Exception as error:  # noqa: BLE001 - `result` raises it
            self._error = error
