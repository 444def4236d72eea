"""`unremarkable weights list|get`."""

from __future__ import annotations

from typing import Annotated

import typer

from unremarkable.cli.common import Json, print_json, say, table

app = typer.Typer(
    help="Pretrained weights: what is here, and fetch what is not.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the backbones' weights and where they are on this machine."""
    from unremarkable.networks.weights import weights_table

    rows = weights_table()
    if as_json:
        print_json({"weights": rows})
        return
    lines = []
    for row in rows:
        size = f"{int(row['bytes'] or 0) / 1e6:.0f} MB"
        lines.append((str(row["name"]), size, str(row["licence"]), str(row["path"] or "not here")))
    print(table(lines))


@app.command()
def get(name: Annotated[str, typer.Argument(help="Backbone, as `weights list` names it.")]) -> None:
    """Fetch one file of weights; nothing else in this program uses the network."""
    from rich.console import Console
    from rich.progress import Progress

    from unremarkable.networks.weights import get_weights

    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(name, total=None)
        path = get_weights(name, lambda done, total: bars.update(bar, completed=done, total=total))
    say(f"{name}: {path}")
