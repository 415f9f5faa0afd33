"""The help of the command: every option explained, and an example that works for every command."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from TransferSegLib import cli, cli_models
from TransferSegLib.cli import app
from TransferSegLib.recipe import Recipe
from TransferSegLib.strategies import STRATEGIES
from TransferSegLib.terminal import Reporting

COMMANDS = ("finetune", "pretrain", "segment", "evaluate", "preprocess", "demo")
MODEL_COMMANDS = ("list", "show", "install", "export", "verify", "rename", "remove")


class TestHelp:
    @staticmethod
    def help(*command: str) -> str:
        """In words, without the frames and line breaks of the table."""
        result = CliRunner().invoke(app, [*command, "--help"], prog_name="transferseg", env={"COLUMNS": "100"})
        assert result.exit_code == 0
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())

    @pytest.mark.parametrize("command", [*((name,) for name in COMMANDS), *(("models", n) for n in MODEL_COMMANDS)])
    def test_each_command_shows_an_example_of_itself(self, command: tuple[str, ...]) -> None:
        assert f"Example: transferseg {' '.join(command)}" in self.help(*command)

    @pytest.mark.parametrize("command", [*((name,) for name in COMMANDS), *(("models", n) for n in MODEL_COMMANDS)])
    def test_its_example_is_one_that_the_command_takes(
        self, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        example = self.help(*command).split("Example: transferseg ")[1].split()
        # Nothing is done: only the arguments are read.
        for module in (cli, cli_models):
            monkeypatch.setattr(module, "session", refuse)
        result = CliRunner().invoke(app, example)
        assert isinstance(result.exception, AssertionError), result.output

    @pytest.mark.parametrize("command", COMMANDS)
    def test_each_command_explains_how_it_reports(self, command: str) -> None:
        text = self.help(command)
        for item in fields(Reporting):
            assert f"--{item.name.replace('_', '-')}" in text
            assert item.metadata["help"] in text
        assert "How to report" in text

    @pytest.mark.parametrize("command", ["finetune", "pretrain"])
    def test_training_commands_explain_every_part_of_the_recipe(self, command: str) -> None:
        text = self.help(command)
        for item in fields(Recipe):
            assert f"--{item.name.replace('_', '-')}" in text
            assert item.metadata["help"] in text
        assert text.index("How to train") < text.index("How to report")

    def test_each_strategy_is_explained_on_a_line_of_its_own(self) -> None:
        text = self.help("finetune")
        for strategy in STRATEGIES.values():
            assert f"{strategy.name}: {strategy.explanation}" in text
        result = CliRunner().invoke(app, ["finetune", "--help"], env={"COLUMNS": "160"})
        for strategy in STRATEGIES.values():
            assert re.search(rf"  {strategy.name}: {re.escape(strategy.explanation)}", result.output)

    def test_the_overview_names_every_command_and_the_exit_codes(self) -> None:
        text = self.help()
        assert all(name in text for name in (*COMMANDS, "models"))
        assert "Exit codes: 0 done, 1 some cases failed, 2 bad usage or input, 3 cancelled" in text
        assert all(name in self.help("models") for name in MODEL_COMMANDS)


def refuse(*_: object) -> None:
    raise AssertionError("not reached")
