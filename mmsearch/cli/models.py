"""`mmsearch models`: list, info, export, add, remove, default, download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmsearch.cli import Exit
from mmsearch.cli.config import default_model, set_setting, user_file
from mmsearch.cli.numbers import Between
from mmsearch.cli.options import note, threads_option

if TYPE_CHECKING:
    from mmsearch.models import ModelInfo
    from mmsearch.models.debiasing import Debiased


FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group("models", short_help="List, export, name and fetch models.")
def models_command() -> None:
    """List the models that mmsearch knows of, export, name and fetch them.

    Any other model of the right layout works too: see docs/models.md.
    """


FORMAT = click.option("--format", "format_", type=click.Choice(["table", "json"]),
                      default="table", show_default=True, help="How to print.")  # fmt: skip


@models_command.command("list")
@FORMAT
def list_command(format_: str) -> int:
    """List models with their published figures (COCO R@1, per cent), and your own."""
    import json

    from mmsearch.encoders import resolve_model
    from mmsearch.models import list_models

    models = list_models()
    spec, _ = default_model()
    default = {spec, resolve_model(spec)}
    if format_ == "json":
        rows = [as_dict(m) | {"default": m.spec in default} for m in models]
        click.echo(json.dumps({"schema": 1, "models": rows}, indent=2))
        return Exit.OK
    width = max(len(m.spec) for m in models)
    click.echo(f"  {'':1} {'MODEL':{width}}  {'text->img':>9}  {'img->text':>9}  WHAT")
    for m in models:
        here = "+" if m.present else "-"
        star = "*" if m.spec in default else " "
        figures = f"{_percent(m.text_to_image):>9}  {_percent(m.image_to_text):>9}"
        click.echo(f"{star} {here} {m.spec:{width}}  {figures}  {m.what}")
    click.echo("\n* for new collections   + its files are here   - would be fetched when named")
    return Exit.OK


@models_command.command("info")
@click.argument("spec")
@FORMAT
def info_command(spec: str, format_: str) -> int:
    """Tell what is known of the model SPEC, or of one of yours; loads and fetches nothing."""
    import json

    from mmsearch.models import model_info

    row = as_dict(model_info(spec))
    if format_ == "json":
        click.echo(json.dumps({"schema": 1, "model": row}, indent=2))
        return Exit.OK
    for name, value in row.items():
        if value not in ("", 0, None):
            shown = json.dumps(value) if isinstance(value, dict) else value
            click.echo(f"{name.replace('_', ' '):15} {shown}")
    return Exit.OK


@models_command.command("export")
@click.argument("spec")
@click.argument("out", metavar="DIR", type=FOLDER)
@click.option("--int8", is_flag=True, help="Matrix products in 8 bits: smaller, faster, coarser.")
@click.option("--pictures", metavar="SOURCE",
              help="What to check on, as for `mmsearch index` [default: what training held out, "
              "else scikit-image's photographs, else generated ones].")  # fmt: skip
@click.option("--least-cosine", type=Between(-1, 1), metavar="X",
              help="How alike each vector must be [default: 0.999; with --int8 0.99].")  # fmt: skip
@click.option("--debias", metavar="PAIRS", multiple=True,
              help="Take hubness off: pictures that are a little like every text come up less. "
              "Pictures with captions, as for `mmsearch train`; may be repeated.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the model that is in DIR.")
@threads_option
@FORMAT
@click.option("-q", "--quiet", is_flag=True, help="Only the result.")
def export_command(
    spec: str, out: Path, int8: bool, pictures: str | None, least_cosine: float | None,
    debias: tuple[str, ...], force: bool, threads: int | None, format_: str, quiet: bool,
) -> int:  # fmt: skip
    """Write the model SPEC into DIR as ONNX files, which need no torch.

    \b
    mmsearch models export checkpoint:tuned tuned-onnx
    mmsearch models export open_clip:ViT-B-32/openai clip-int8 --int8 --pictures ~/Pictures
    mmsearch models export open_clip:ViT-B-32/openai clip-fair --debias captions.csv

    The copy is compared with its source, picture by picture and text by text, before it is put in
    place; config.json keeps the figures. It is a model of its own: vectors of the two do not mix.
    How much --int8 costs a search: mmsearch eval DATA --compare SPEC onnx:DIR.
    """
    import json

    from mmsearch.models.export import export_model

    made = export_model(
        spec, out, int8=int8, pictures=pictures, least=least_cosine, debias=debias,
        force=force, threads=threads, say=(lambda _: None) if quiet else note,
    )  # fmt: skip
    if format_ == "json":
        click.echo(json.dumps({"schema": 1, "export": made.as_dict()}, indent=2))
    else:
        click.echo(f"{made.folder}  {made.space}  {made.megabytes:g} MB")
        for what, found in (("pictures", made.pictures), ("texts", made.texts)):
            click.echo(f"cosine on {found.n} {what}: least {found.least:.5f}, "
                       f"mean {found.mean:.5f}")  # fmt: skip
        click.echo(f"checked on: {made.checked_on}")
        if made.debiased:
            click.echo(_told(made.debiased))
    if not quiet:
        note(f"use it as --model onnx:{out}, or: mmsearch models add {out} --name NAME")
    return Exit.OK


@models_command.command("add")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--name", required=True, help="Letters, digits, '.', '-' and '_'.")
@click.option("--copy", is_flag=True, help="Copy it to the user's data, so that DIR may go.")
def add_command(folder: Path, name: str, copy: bool) -> int:
    """Give the model in DIR a name: --model NAME then works anywhere.

    DIR is what `mmsearch train` or `mmsearch models export` has written, another ONNX model, or a
    folder of transformers. The model is tried first. A collection remembers what the name stood
    for, not the name.
    """
    from mmsearch.models.adding import add_model

    added = add_model(folder, name, copy=copy)
    click.echo(f"{added.name}  {added.spec}  {added.dim}-d")
    note(f"for all new collections: mmsearch models default {name}")
    return Exit.OK


@models_command.command("remove")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Delete a copy without asking.")
def remove_command(name: str, yes: bool) -> int:
    """Forget the name of a model of yours. Its folder stays, but for a copy by `add --copy`.

    Collections go on as long as the folder is there.
    """
    from mmsearch.models.adding import find_named, remove_model

    named = find_named(name)
    if named.copied and not yes:
        click.confirm(f"The copy ({named.spec}) will be deleted; collections made with it can "
                      "then no longer be searched. Delete it?", abort=True, err=True)  # fmt: skip
    removed = remove_model(name)
    note(f"{name} is forgotten" + (", its copy deleted" if removed.copied else
         f"; use it as --model {removed.spec}"))  # fmt: skip
    if default_model()[0] == name:
        note(f"{name} is still the default: mmsearch models default auto")
    return Exit.OK


@models_command.command("default")
@click.argument("spec", required=False)
def default_command(spec: str | None) -> int:
    """Show the model that new collections get, or make SPEC (or one of your names) the default.

    It is written into the user's config.toml. Collections that are there keep their own.
    """
    if spec is None:
        chosen, where = default_model()
        click.echo(chosen)
        note(f"set by {where}" if where else "nothing is set")
        return Exit.OK
    from mmsearch.encoders import resolve_model
    from mmsearch.models import model_info

    found = model_info(spec)
    # A name and `auto` stay what they are; a folder must mean the same from anywhere.
    chosen = resolve_model(spec) if ":" in spec else spec
    path = user_file()
    set_setting(path, "model", chosen)
    note(f"new collections get {chosen} ({path})")
    if not found.present:
        note("its files are not here; fetch them: mmsearch models download " + chosen)
    if (now := default_model()) != (chosen, str(path)):
        note(f"but {now[1]} goes before that here: {now[0]}")
    return Exit.OK


@models_command.command("download")
@click.argument("spec")
def download_command(spec: str) -> int:
    """Fetch the files of the model SPEC into the local cache: onnx:, hf: or open_clip:.

    `auto` fetches the best model that `auto` knows of.
    """
    from mmsearch.models.download import download_model

    folder = download_model(spec)
    click.echo(folder if folder else f"{spec} is here")
    return Exit.OK


def as_dict(model: ModelInfo) -> dict[str, Any]:
    """Return the fields of a model as plain JSON values."""
    from dataclasses import asdict
    from pathlib import Path

    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(model).items()}


def _told(debiased: Debiased) -> str:
    """Return what taking hubness off did to the held-out pairs."""
    lines = [f"hubness by {debiased.bank} captions, sharpness {debiased.sharpness:g}, "
             f"weight {debiased.weight:g}; held-out R@1/5/10:"]  # fmt: skip
    was, now = debiased.before.figures(), debiased.after.figures()
    for way in was:
        old, new = (
            "/".join(f"{side[way][f'R@{k}']:.1f}" for k in (1, 5, 10)) for side in (was, now)
        )
        lines.append(f"  {way.replace('_to_', ' -> ')}: {old} -> {new}")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
