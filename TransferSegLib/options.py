"""Options declared once, as fields of a dataclass, and given to every command that takes them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import typer

from .errors import InputError

# Headings in the help, and options, of every command that trains.
TRAINING_PANEL, PREPARATION_PANEL = "How to train", "How to prepare images (default: as the source)"

Labels = Annotated[
    str, typer.Option(help="What the labels mean: glioma, lesion, or a JSON file. Default: as the data tells.")
]
Channels = Annotated[str, typer.Option(help="Channels, comma-separated. Default: the source's, or t1,t1c,t2,flair.")]
Statistics = Annotated[
    str, typer.Option(help="Of batch normalisation: image (its own) or running. Default: the source's, or image.")
]
Cache = Annotated[str, typer.Option(help="Folder for prepared cases. Default: the user's cache folder.")]

T = TypeVar("T")
N = TypeVar("N", int, float)


def takes(
    kind: type[Any], parameter: str, panel: str, later: bool = False, without: Collection[str] = ()
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command an option for each field of the dataclass ``kind``; it receives them as one ``parameter``.

    A field of the type ``tuple[str, ...]`` is a comma-separated list, for which ``none`` is empty.

    Parameters
    ----------
    later : the command receives a function that makes the dataclass, to call where its refusals are told to the user.
    without : fields that are no option of this command and keep their default.
    """

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        own = [item for item in inspect.signature(command, eval_str=True).parameters.values() if item.name != parameter]
        hints = get_type_hints(kind)
        chosen = [item for item in fields(kind) if item.name not in without]
        added = [_option(item, hints[item.name], panel) for item in chosen]
        listed = {item.name for item in chosen if hints[item.name] == tuple[str, ...]}

        @functools.wraps(command)
        def run(**given: Any) -> T:
            values = {item.name: given.pop(item.name) for item in added}
            for name in listed:
                values[name] = split_names(values[name])

            def make() -> Any:
                return kind(**values)

            return command(**given, **{parameter: make if later else make()})

        signature = inspect.Signature([*own, *added])
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in signature.parameters.values()}
        return run

    return decorate


def split_names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list; ``none`` or nothing is an empty one."""
    return tuple(name.strip() for name in text.split(",") if name.strip() not in ("", "none"))


def numbers(text: str, kind: type[N], option: str) -> list[N]:
    """The numbers in a comma-separated list, which ``option`` was given.

    Raises
    ------
    InputError : something in it is no number.
    """
    try:
        return [kind(part) for part in split_names(text)]
    except ValueError:
        raise InputError(f"{option} cannot be '{text}'.", "Give numbers, comma-separated.") from None


def share_or_names(text: str) -> float | tuple[str, ...]:
    """A number below 1 is a share; all else are names, which may look like numbers: ``001``."""
    try:
        share = float(text)
    except ValueError:
        return split_names(text)
    return share if abs(share) < 1 else split_names(text)


def _option(item: Any, hint: Any, panel: str) -> inspect.Parameter:
    default, kind = item.default, cast(Any, hint)
    if hint == tuple[str, ...]:
        default, kind = ",".join(item.default), str
    help = str(item.metadata["help"])
    # A flag is an option without a "--no-..." twin.
    declared = [f"--{item.name.replace('_', '-')}"] if kind is bool else []
    annotation: Any = Annotated[kind, typer.Option(*declared, help=help, rich_help_panel=panel)]
    return inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
