"""``transferseg models``: list, show, install, export, describe, verify, rename, remove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import takes
from .terminal import REPORT_PANEL, Reporting, print_table, session

models = typer.Typer(
    no_args_is_help=True,
    help="Models: list, show, install, export, describe, verify, rename, remove.",
    rich_markup_mode="rich",
)
Source = Annotated[str, typer.Argument(help="Model: a name, a folder or a zip.")]


@models.command("list", epilog="Example: transferseg models list")
def list_() -> None:
    """Shipped and installed models; damaged ones with the reason."""
    with session(Reporting()):
        from .registry import list_models, models_folder

        rows = [[e.name, e.version, e.origin, e.problem or e.title] for e in list_models()]
        if rows:
            print_table([["name", "version", "origin", "title"], *rows], prose=True)
        else:
            print("No models yet. Install one with: transferseg models install FOLDER")
            print(f"It is copied to {models_folder()}")


@models.command(epilog="Example: transferseg models show ms-lesion")
def show(model: Source) -> None:
    """The card of a model, as text."""
    with session(Reporting()):
        from .model import load_model
        from .readme import render_readme

        print(render_readme(load_model(model).card))


@models.command(epilog="Example: transferseg models install runs/first --name my-glioma")
def install(
    model: Source,
    name: Annotated[str, typer.Option(help="Another name for it.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Replace an installed model of this name.")] = False,
) -> None:
    """Copy a model into your models folder, so that it can be used by name."""
    with session(Reporting()):
        from .registry import install_model

        entry = install_model(model, name or None, replace)
        print(f"Installed {entry.name} in {entry.path}")


@models.command(epilog="Example: transferseg models export my-glioma my-glioma.zip")
def export(
    model: Source, out: Annotated[Path, typer.Argument(help="Folder, or FILE.zip, or FILE.onnx for other programs.")]
) -> None:
    """Write a model to give away."""
    with session(Reporting()):
        from .registry import export_model

        if out.suffix.lower() == ".onnx":
            from .engines import export_onnx
            from .model import load_model

            print(export_onnx(load_model(model), out))
        else:
            print(export_model(model, out))


@models.command(epilog="Example: transferseg models describe runs/first --about about.json --out my-glioma.zip")
def describe(
    model: Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder or FILE.zip for the described copy.")],
    about: Annotated[
        str, typer.Option(help="JSON file: title, description, intended_use, limitations, licence, version, citations.")
    ] = "",
    scores: Annotated[str, typer.Option(help="metrics.csv of cases the model was tested on.")] = "",
    data: Annotated[str, typer.Option(help="What those cases are, in a word.")] = "held-out",
) -> None:
    """Write a copy whose card says more: text for people, and scores measured elsewhere."""
    with session(Reporting()):
        from .describe import describe_model

        print(describe_model(model, out, about or None, {data: scores} if scores else None))


@models.command(epilog="Example: transferseg models verify colleague.zip")
@takes(Reporting, "reporting", REPORT_PANEL)
def verify(model: Source, reporting: Reporting) -> None:
    """Check a model: its card, its hash, its tensors."""
    with session(reporting) as (on_event, _):
        from .events import Message
        from .model import verify_model
        from .registry import find_model

        passed = verify_model(find_model(model))
        if reporting.events:
            for line in passed:
                on_event(Message("verify", line))
    if not reporting.events:
        for line in passed:
            print(f"ok  {line}")


@models.command(epilog="Example: transferseg models rename my-glioma glioma-2026")
def rename(model: Source, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Rename an installed model."""
    with session(Reporting()):
        from .registry import rename_model

        print(f"Renamed to {rename_model(model, name).name}")


@models.command(epilog="Example: transferseg models remove my-glioma")
def remove(model: Source) -> None:
    """Delete an installed model."""
    with session(Reporting()):
        from .registry import remove_model

        remove_model(model)
        print(f"Removed {model}")
