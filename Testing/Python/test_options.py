"""Options: fields of a dataclass become options of a command, with their names, types, defaults and help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from TransferSegLib.errors import InputError
from TransferSegLib.options import numbers, share_or_names, split_names, takes
from TransferSegLib.recipe import option


@dataclass(frozen=True)
class Soup:
    """What a test orders."""

    spoons: int = option(2, "How many spoons.")
    table_salt: float = option(0.5, "Grams of salt.")
    cook: str = option("Anna", "Who cooks.")
    hot: bool = option(False, "Serve it hot.")
    herbs: tuple[str, ...] = option(("dill", "sage"), "Herbs, or none.")

    def __post_init__(self) -> None:
        if self.spoons < 1:
            raise InputError(f"--spoons cannot be {self.spoons}.", "How many spoons.")


def app(later: bool = False) -> tuple[typer.Typer, list[Any]]:
    """A command with an option of its own, and what it received."""
    received: list[Any] = []
    command = typer.Typer(add_completion=False)

    @command.command()
    @takes(Soup, "soup", "What to eat", later=later)
    def order(guest: str, soup: Any, tip: Annotated[int, typer.Option(help="Coins.")] = 1) -> None:
        """Order a soup."""
        received.extend([guest, soup, tip])

    return command, received


def run(arguments: list[str], later: bool = False) -> list[Any]:
    command, received = app(later)
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return received


def test_without_options_the_command_receives_the_defaults() -> None:
    assert run(["Bob"]) == ["Bob", Soup(), 1]


def test_every_field_is_an_option_with_dashes_for_underscores() -> None:
    found = run(
        ["Bob", "--spoons", "3", "--table-salt", "1.5", "--cook", "Eva", "--hot", "--herbs", "basil", "--tip", "4"]
    )
    assert found == ["Bob", Soup(3, 1.5, "Eva", True, ("basil",)), 4]


@pytest.mark.parametrize(
    ("text", "herbs"), [("none", ()), ("", ()), ("a,b", ("a", "b")), (" a , b,", ("a", "b")), ("none,a", ("a",))]
)
def test_a_list_is_comma_separated_and_none_is_empty(text: str, herbs: tuple[str, ...]) -> None:
    assert run(["Bob", "--herbs", text])[1].herbs == herbs
    assert split_names(text) == herbs


def test_the_help_has_a_panel_with_each_field_its_help_and_its_default() -> None:
    result = CliRunner().invoke(app()[0], ["--help"], env={"COLUMNS": "120", "NO_COLOR": "1"})
    panel = result.output.split("What to eat")[1]
    for line in (
        ("--spoons", "How many spoons. [default: 2]"),
        ("--table-salt", "Grams of salt. [default: 0.5]"),
        ("--cook", "Who cooks. [default: Anna]"),
        ("--herbs", "Herbs, or none. [default: dill,sage]"),
        ("--hot", "Serve it hot."),
    ):
        assert any(all(part in shown for part in line) for shown in panel.splitlines()), line
    assert "--no-hot" not in result.output
    assert "--soup" not in result.output
    assert "--tip" not in panel


@pytest.mark.parametrize("arguments", [["--spoons", "many"], ["--table-salt", "much"], ["--pepper", "1"]])
def test_what_is_no_number_or_no_option_is_bad_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app()[0], ["Bob", *arguments]).exit_code == 2


def test_what_the_dataclass_refuses_can_wait_until_the_command_makes_it() -> None:
    make: Callable[[], Soup] = run(["Bob", "--spoons", "0"], later=True)[1]
    with pytest.raises(InputError, match="--spoons cannot be 0"):
        make()
    assert run(["Bob", "--spoons", "7"], later=True)[1]() == Soup(spoons=7)


def test_two_dataclasses_go_to_one_command() -> None:
    @dataclass(frozen=True)
    class Drink:
        name: str = option("water", "What to drink.")

    received: list[Any] = []
    command = typer.Typer(add_completion=False)

    @command.command()
    @takes(Soup, "soup", "What to eat")
    @takes(Drink, "drink", "What to drink")
    def order(soup: Any, drink: Any) -> None:
        received.extend([soup, drink])

    assert CliRunner().invoke(command, ["--name", "tea", "--spoons", "1"]).exit_code == 0
    assert received == [Soup(spoons=1), Drink("tea")]


def test_a_case_whose_name_is_a_number_can_be_held_out() -> None:
    assert share_or_names("001") == ("001",)
    assert share_or_names("001,002") == ("001", "002")
    assert share_or_names("0.25") == 0.25
    assert share_or_names("0") == 0
    assert share_or_names("none") == ()


def test_numbers_are_read_as_the_option_wants_them() -> None:
    assert numbers("1, 2.5,3", float, "--spacing") == [1.0, 2.5, 3.0]
    assert numbers("7,19", int, "--without") == [7, 19]
    assert numbers("", int, "--without") == []
    with pytest.raises(InputError) as caught:
        numbers("1,x", int, "--without")
    assert str(caught.value) == "--without cannot be '1,x'. Give numbers, comma-separated."
