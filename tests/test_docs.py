"""Docs that cannot lie: the command reference, README's Python, names that exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import mmsearch
from mmsearch.cli import COMMANDS, cli
from mmsearch.cli.numbers import Between

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf8")
PAGES = sorted((ROOT / "docs").glob("*.md"))


def command_reference() -> str:
    """Return docs/cli.md: the --help of every command, 88 columns wide."""
    parts = [
        "# Commands",
        "Made from `--help` of every command by `python -m tests.test_docs`; a test compares them.",
    ]

    def add(command: click.Command, name: str) -> None:
        ctx = click.Context(
            command, info_name=name, terminal_width=88, max_content_width=88,
            help_option_names=["-h", "--help"],
        )  # fmt: skip
        parts.append(f"## {name}\n```\n{command.get_help(ctx)}\n```")
        if isinstance(command, click.Group):
            for sub in command.list_commands(ctx):
                found = command.get_command(ctx, sub)
                assert found is not None
                add(found, f"{name} {sub}")

    add(cli, "mmsearch")
    return "\n\n".join(parts) + "\n"


def test_the_command_reference_is_what_help_says() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf8") == command_reference()


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    from tests.mmsearch.conftest import paint

    for name, color in (("red", "red"), ("blue", "blue")):
        paint(tmp_path / "pictures" / f"{name}.jpg", color)
    blocks = python_blocks(README)
    assert blocks
    for block in blocks:
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, env=env, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "red.jpg" in done.stdout


def shell_block(mark: str) -> str:
    """Return the lines of the README's block under `<!-- mark -->`."""
    found = re.search(rf"<!-- {mark} -->\n```bash\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.slow
@pytest.mark.timeout(900)  # seven processes that import torch
def test_the_training_of_the_readme_makes_a_collection_better(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.mmsearch.train.toys import blob_table, tiny_clip

    blob_table(tmp_path / "photos", 120)
    block = shell_block("train")
    assert block.count("\n") <= 10
    # A model of random weights stands for the starter: it is small, and it needs larger steps.
    block = block.replace("starter", tiny_clip(tmp_path / "clip"))
    (tmp_path / "mmsearch.toml").write_text(
        "lr = 0.003\nhead-lr = 0.003\nepochs = 20\nbatch-size = 12\naugment = false\n"
    )
    call = f'mmsearch() {{ "{sys.executable}" -m mmsearch "$@"; }}\n'
    env = os.environ | {"PYTHONPATH": str(ROOT), "MMSEARCH_HOME": str(tmp_path / "store"),
                        "MMSEARCH_THREADS": "1", "OMP_NUM_THREADS": "1",
                        "XDG_CONFIG_HOME": str(tmp_path / "config")}  # fmt: skip
    done = subprocess.run(
        ["bash", "-ec", call + block], cwd=tmp_path, env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pairs.csv: promoted" in done.stdout
    report = json.loads((tmp_path / "tuned" / "report.json").read_text())
    assert report["heldout"]["change"]["low"] > 0
    assert "photos/" in done.stdout.splitlines()[-1]  # the last search's last hit


def test_every_exported_name_and_error_is_in_the_docs() -> None:
    text = README + "".join(p.read_text(encoding="utf8") for p in PAGES)
    import index_store.errors as store_errors
    import mmsearch.errors as errors

    names = {*mmsearch.__all__} - {"__version__"}
    for module in (store_errors, errors):
        names |= {n for n, v in vars(module).items() if isinstance(v, type) and n[0].isupper()
                  and issubclass(v, Exception)}  # fmt: skip
    missing = [n for n in sorted(names) if not re.search(rf"\b{n}\b", text)]
    assert missing == []


def test_every_choice_of_training_is_in_its_page() -> None:
    from mmsearch.cli.train import train_command

    page = (ROOT / "docs" / "training.md").read_text(encoding="utf8")
    names = {p.opts[-1] for p in train_command.params if isinstance(p, click.Option)}
    assert [n for n in sorted(names) if f"`{n}`" not in page and n != "--base"] == []


def test_every_option_is_used_by_a_test() -> None:
    tests = [p.read_text(encoding="utf8") for p in (ROOT / "tests").rglob("test_*.py")]
    text = "\n".join(t for t in tests if "def test_every_option_is_used_by_a_test" not in t)
    used = set(re.findall(r"(?<![\w-])--?[a-z0-9][\w-]*", text))
    unused = [
        (name, max(names, key=len))
        for name, command in commands(cli, "")
        for option in command.params
        if isinstance(option, click.Option)
        for names in (option.opts, option.secondary_opts)
        if names and not used & set(names)
    ]
    assert unused == []


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    ctx = click.Context(command)
    for sub in command.list_commands(ctx):
        found = command.get_command(ctx, sub)
        assert found is not None
        yield from commands(found, f"{name} {sub}".strip())


def test_no_option_takes_nan_for_a_number() -> None:
    floats = [
        (name, option.name)
        for name, command in commands(cli, "")
        for option in command.params
        if isinstance(option.type, click.types.FloatParamType) and type(option.type) is not Between
    ]
    assert floats == []
    with pytest.raises(click.BadParameter, match="no number"):
        Between(0, 1).convert("nan", None, None)
    assert Between(0, 1).convert("0.5", None, None) == 0.5


def test_every_command_is_in_the_readme() -> None:
    assert [c for c in COMMANDS if f"mmsearch {c}" not in README] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(command_reference(), encoding="utf8")
