"""`mmsearch similar`: what is like an item that is stored, by its own vector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmsearch.cli import Exit
from mmsearch.cli.delivery import Delivery, deliver, delivery_options
from mmsearch.cli.options import build_filter, filter_options, store_options, threads_option

if TYPE_CHECKING:
    from index_store import Collection, Where
    from index_store.types import Kind
    from mmsearch.types import Hit


@click.command("similar", short_help="Find what is like a stored picture or text.")
@click.argument("item", metavar="KEY|FILE")
@click.option("-n", "--limit", "k", type=click.IntRange(1, 10_000), default=10,
              show_default=True, metavar="N", help="Hits wanted.")  # fmt: skip
@click.option("--kind", type=click.Choice(["image", "text"]), default="image",
              show_default=True, help="Find pictures, or texts (captions).")  # fmt: skip
@filter_options
@click.option("--format", "format_", default="table", show_default=True,
              type=click.Choice(["table", "json", "jsonl", "csv", "tsv", "paths", "html"]),
              help="How to print hits; json has a schema version.")  # fmt: skip
@click.option("-0", "--null", is_flag=True, help="Print paths ended by NUL, for xargs -0.")
@delivery_options
@threads_option
@store_options
def similar_command(
    item: str, k: int, kind: Kind, where: str | None, paths: tuple[str, ...], format_: str,
    null: bool, delivery: Delivery, threads: int | None, store: Path, collection: str,
) -> int:  # fmt: skip
    """Find what is like a picture or text of the collection; it is not among the hits itself.

    KEY is as `search --format json` prints it, FILE any picture. The vector of what is stored
    is taken as it is: no model is loaded, the file need not be there any more. A FILE that is not
    in the collection is embedded first.

    \b
    mmsearch similar holiday.jpg
    mmsearch similar holiday.jpg --kind text -n 3
    """
    delivery.check(kind)
    condition = build_filter(where, paths)
    from index_store import Store
    from mmsearch.types import Query

    with Store.open(store, readonly=True) as opened:
        found = opened.collection(collection)
        hits = _similar(found, item, k, kind, condition, threads)
    asked = Query(image=item, k=k, kind=kind)
    done = deliver(asked, hits, "paths" if null else format_, delivery, null=null)
    return (Exit.OK if done else Exit.SOME_FAILED) if hits else Exit.NO_HITS


def _similar(
    collection: Collection, item: str, k: int, kind: Kind, where: Where | None,
    threads: int | None,
) -> list[Hit]:  # fmt: skip
    from mmsearch.errors import BadQuery
    from mmsearch.search import Engine, neighbours
    from mmsearch.types import Query
    from mmsearch.uris import content_hash, key_of, printable

    is_file = Path(item).is_file()
    known = collection.get([item, key_of(item), *([key_of(Path(item).resolve())] * is_file)])
    keys = [i.key for i in known]
    if not keys and is_file:  # another file, but its content may be known
        keys = list(collection.keys_by_content([content_hash(item)]).values())
    if keys:
        return neighbours(collection, keys[0], k, kind=kind, where=where)
    if not is_file:
        raise BadQuery(f"neither a key of the collection nor a file: {printable(item)}")
    from mmsearch.encoders import load_encoder

    encoder = load_encoder(collection.model, threads=threads)
    return Engine(collection, encoder).search(Query(image=item, k=k, kind=kind, where=where))
