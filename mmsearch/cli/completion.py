"""`mmsearch completion`: the lines that teach a shell to complete its commands and options."""

from __future__ import annotations

import click

from mmsearch.cli import Exit, cli


@click.command("completion", short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print the script that makes a shell complete commands, options and their values.

    \b
    bash  eval "$(mmsearch completion bash)"   in ~/.bashrc
    zsh   eval "$(mmsearch completion zsh)"    in ~/.zshrc
    fish  mmsearch completion fish > ~/.config/fish/completions/mmsearch.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # click knows these three
    click.echo(found(cli, {}, "mmsearch", "_MMSEARCH_COMPLETE").source())
    return Exit.OK
