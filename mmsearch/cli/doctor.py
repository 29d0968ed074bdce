"""`mmsearch doctor`: does this installation work, and if not, what to do."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import click

from mmsearch.cli import Exit
from mmsearch.cli.options import store_options
from mmsearch.version import __version__

CORE = ("numpy", "pillow", "faiss-cpu", "sqlalchemy", "onnxruntime", "tokenizers")
EXTRAS = {"torch": "torch", "open_clip_torch": "torch", "transformers": "torch",
          "pillow-heif": "heic"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer. state: "ok", "warn" or "fail"; fix: what to do about it."""

    name: str
    state: str
    found: str
    fix: str = ""


@click.command("doctor", short_help="Check this installation.")
@store_options
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="How to print.")  # fmt: skip
def doctor_command(store: Path, collection: str, format_: str) -> int:
    """Check this installation: packages, processor, model, store.

    Exits with 4 if the default model does not work, with 3 if the store does not.
    """
    checks = [check for part in (_system, _packages, _model) for check in part()]
    checks += [*_store(store), _token_cache()]
    if format_ == "json":
        rows = [asdict(c) for c in checks]
        click.echo(json.dumps({"schema": 1, "version": __version__, "checks": rows}, indent=2))
    else:
        for check in checks:
            click.echo(f"{check.state:5} {check.name:16} {check.found}")
            if check.fix:
                click.echo(f"{'':22} -> {check.fix}")
    failed = {c.name for c in checks if c.state == "fail"}
    if "model" in failed or "packages" in failed:
        return Exit.NO_MODEL
    return Exit.NO_INDEX if failed else Exit.OK


def _system() -> Iterator[Check]:
    yield Check("mmsearch", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    from mmsearch.cores import usable_cores

    yield Check("processor", "ok", f"{usable_cores()} cores to use, {os.cpu_count()} CPUs")
    encoding = sys.getfilesystemencoding()
    state, fix = ("ok", "") if encoding == "utf-8" else ("warn", "set PYTHONUTF8=1")
    yield Check("file names", state, encoding, fix)


def _packages() -> Iterator[Check]:
    from index_store import gpu

    have = {name: _version(name) for name in (*CORE, *EXTRAS)}
    missing = [name for name in CORE if not have[name]]
    if missing:
        yield Check("packages", "fail", f"missing: {', '.join(missing)}", "pip install mmsearch")
    else:
        yield Check("packages", "ok", ", ".join(f"{n} {have[n]}" for n in CORE))
    several = gpu.installed()
    if len(several) > 1:
        found = f"installed together: {', '.join(several)}"
        yield Check("faiss", "fail", found, gpu.repair(several))
    for name, extra in EXTRAS.items():
        if have[name]:
            yield Check(name, "ok", have[name])
        else:
            yield Check(name, "ok", f"not installed (optional: pip install 'mmsearch[{extra}]')")


def _model() -> Iterator[Check]:
    """Run the default model on a text and a picture."""
    from mmsearch.encoders import load_encoder, resolve_model
    from mmsearch.errors import MmsearchError

    spec = resolve_model("auto")
    try:
        encoder = load_encoder(spec)
        text = encoder.encode_texts(["a photo"])
        from PIL import Image

        image = encoder.encode_images(encoder.prepare(Image.new("RGB", (64, 48), "teal"))[None])
    except (MmsearchError, OSError, RuntimeError) as error:
        yield Check("model", "fail", f"{spec}: {error}", "pip install --force-reinstall mmsearch")
        return
    works = text.shape == image.shape == (1, encoder.space.dim)
    yield Check("model", "ok" if works else "fail", f"{spec} ({encoder.space.name}, "
                f"{encoder.space.dim}-d) embeds a text and a picture")  # fmt: skip


def _store(path: Path) -> list[Check]:
    from index_store import Store, StoreError
    from index_store.disk import network_file_system
    from index_store.errors import StoreNotFound

    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    checks = [
        Check("disk", "ok" if free > 1e9 else "warn", f"{free / 1e9:,.1f} GB free for {path}")
    ]
    if remote := network_file_system(existing):
        fix = "put the index on a local disk with --store or $MMSEARCH_HOME"
        checks.append(Check("disk", "fail", f"{path} is on a network file system: {remote}", fix))
    if not os.access(existing, os.W_OK):
        checks.append(Check("disk", "warn", f"{existing} cannot be written; searching works"))
    try:
        with Store.open(path, readonly=True) as store:
            problems = store.verify()
            names = store.collections()
    except StoreNotFound:
        return [*checks, Check("store", "ok", f"none yet in {path}")]
    except StoreError as error:
        return [*checks, Check("store", "fail", str(error))]
    if problems:
        found = f"{len(problems)} problems, the first: {problems[0].where}: {problems[0].what}"
        return [*checks, Check("store", "fail", found, "mmsearch verify")]
    return [*checks, Check("store", "ok", f"{path}: {', '.join(names) or 'no collection'}")]


def _token_cache() -> Check:
    from mmsearch.rerankers.token_cache import GB, folder, held

    pictures, size = held()
    found = f"{pictures:,} pictures, {size / GB:.2f} GB in {folder()}" if pictures else "empty"
    return Check("re-ranking cache", "ok", found)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
