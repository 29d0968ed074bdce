"""Small parts to build a forward-only pipeline of."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last one maybe shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def map_ahead(
    function: Callable[[T], U], items: Iterable[T], *, threads: int, ahead: int
) -> Generator[U]:
    """Yield `function(item)` for each item, in order, worked out by threads beforehand.

    At most `ahead` results wait at a time: memory stays bounded however slow the consumer.
    An exception comes out where its result would have; closing the iterator early waits for
    the calls under way only.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    waiting: deque[Future[U]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
