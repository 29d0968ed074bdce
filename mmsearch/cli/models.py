"""`mmsearch models list|info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit

if TYPE_CHECKING:
    from mmsearch.models import ModelInfo


@click.group("models", short_help="List models, or tell about one.")
def models_command() -> None:
    """List the models that mmsearch knows of, or tell about one.

    Any other model of the right layout works too: see docs/models.md.
    """


FORMAT = click.option("--format", "format_", type=click.Choice(["table", "json"]),
                      default="table", show_default=True, help="How to print.")  # fmt: skip


@models_command.command("list")
@FORMAT
def list_command(format_: str) -> int:
    """List models with their published figures (COCO R@1, per cent)."""
    import json

    from mmsearch.encoders import resolve_model
    from mmsearch.models import list_models

    models = list_models()
    default = resolve_model("auto")
    if format_ == "json":
        rows = [as_dict(m) | {"default": m.spec == default} for m in models]
        click.echo(json.dumps({"schema": 1, "models": rows}, indent=2))
        return Exit.OK
    width = max(len(m.spec) for m in models)
    click.echo(f"  {'':1} {'MODEL':{width}}  {'text->img':>9}  {'img->text':>9}  WHAT")
    for m in models:
        here = "+" if m.present else "-"
        star = "*" if m.spec == default else " "
        figures = f"{_percent(m.text_to_image):>9}  {_percent(m.image_to_text):>9}"
        click.echo(f"{star} {here} {m.spec:{width}}  {figures}  {m.what}")
    click.echo("\n* what `auto` means here   + its files are here   - would be fetched when named")
    return Exit.OK


@models_command.command("info")
@click.argument("spec")
@FORMAT
def info_command(spec: str, format_: str) -> int:
    """Tell what is known of the model SPEC; loads and fetches nothing."""
    import json

    from mmsearch.models import model_info

    row = as_dict(model_info(spec))
    if format_ == "json":
        click.echo(json.dumps({"schema": 1, "model": row}, indent=2))
        return Exit.OK
    for name, value in row.items():
        if value not in ("", 0, None):
            click.echo(f"{name.replace('_', ' '):15} {value}")
    return Exit.OK


def as_dict(model: ModelInfo) -> dict[str, Any]:
    """Return the fields of a model as plain JSON values."""
    from dataclasses import asdict
    from pathlib import Path

    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(model).items()}


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
