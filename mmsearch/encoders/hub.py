"""Model folders out of the Hugging Face cache, and from the hub when they are not there.

The lookup in the cache reads the folders itself, by the layout that the hub documents: it is on
the path of every query with `auto`, and huggingface_hub's own checks cost more than the search.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from mmsearch.errors import ModelUnavailable

# What a bundle must have, and what is fetched of it (Immich's repositories carry the same model
# for ARM and Rockchip NPUs too: several GB that nobody here reads).
BUNDLE_FILES = (
    "config.json",
    "visual/model.onnx",
    "visual/preprocess_cfg.json",
    "textual/model.onnx",
    "textual/tokenizer.json",
)
BUNDLE_PATTERNS = ("config.json", "README.md", "visual/*", "textual/*")
BUNDLE_IGNORED = ("*.armnn", "*.rknn", "*/fp16/*", "*/rknpu/*")

_REPO = re.compile(r"[\w.-]+/[\w.-]+")


def is_repo(name: str) -> bool:
    """Return whether `name` looks like ORG/REPO (which a relative folder may look like too)."""
    return _REPO.fullmatch(name) is not None and ".." not in name


def cache_folder() -> Path:
    """Return the Hugging Face cache folder, by its own environment variables."""
    home = os.getenv("HF_HOME") or str(
        Path(os.getenv("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    )
    chosen = os.getenv("HF_HUB_CACHE") or os.getenv("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(chosen or str(Path(home) / "hub"))).expanduser()


def cached_snapshot(repo: str) -> Path | None:
    """Return the folder of the repository's main revision in the local cache, or None.

    It may be incomplete: an interrupted fetch leaves some files out.
    """
    folder = cache_folder() / f"models--{repo.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    snapshot = folder / "snapshots" / revision
    return snapshot if revision and snapshot.is_dir() else None


def cached_bundle(repo: str) -> Path | None:
    """Return the folder of a cached ONNX bundle that has all its files, or None."""
    snapshot = cached_snapshot(repo)
    return snapshot if snapshot and not missing_files(snapshot) else None


def missing_files(folder: Path) -> list[str]:
    """Return the files of an ONNX bundle that `folder` lacks (a dangling link counts)."""
    return [name for name in BUNDLE_FILES if not (folder / name).is_file()]


def snapshot(
    repo: str,
    *,
    complete: Callable[[Path], bool],
    patterns: Sequence[str],
    ignored: Sequence[str] = (),
) -> Path:
    """Return a local folder with the repository's files; fetches only what the cache lacks.

    Args:
        repo: ORG/REPO.
        complete: whether a folder has all that is needed.
        patterns: which files to fetch.
        ignored: which of those not to.

    Raises:
        ModelUnavailable: not cached and not fetched: no network, offline by choice
            (HF_HUB_OFFLINE), no such repository, no right to it, or it lacks needed files.
    """
    found = cached_snapshot(repo)
    if found and complete(found):
        return found
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                repo, allow_patterns=list(patterns), ignore_patterns=list(ignored) or None
            )
        )
    except RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"model {repo} is neither a folder here nor a repository on the hub that you may "
            "read; check the name, or log in with `hf auth login` if it is private"
        ) from error
    except Exception as error:
        # The HTTP client's own errors differ between versions of huggingface_hub (requests, then
        # httpx); what the user must know is the same.
        client = type(error).__module__.partition(".")[0] in {"httpx", "httpcore", "requests"}
        if not (client or isinstance(error, (OSError, ValueError, HfHubHTTPError))):
            raise
        raise ModelUnavailable(
            f"model {repo} is not in the local cache ({cache_folder()}) and cannot be fetched: "
            f"{_first_line(error)}; fetch it on a machine with network and give its folder, or "
            "use --model starter, which needs none"
        ) from error
    if not complete(folder):
        raise ModelUnavailable(
            f"model {repo} is incomplete in {folder}: either its fetch was cut short (try again "
            "with network), or the repository holds no model of this kind"
        )
    return folder


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
