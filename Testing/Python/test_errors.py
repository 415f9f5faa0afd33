"""Errors: how a package that is missing is told."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from TransferSegLib.errors import DependencyError, needs


def test_a_package_that_is_not_installed_is_named_with_how_to_get_it() -> None:
    with pytest.raises(DependencyError) as caught, needs("no_such_package"):
        importlib.import_module("no_such_package")
    assert caught.value.cause == "The package no_such_package is not installed."
    assert caught.value.remedy == "Install it with: pip install no_such_package"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("from os import nonsense", "cannot import name 'nonsense' from 'os'"),
        ("import its_compiled_core", "No module named 'its_compiled_core'"),
    ],
)
def test_a_package_that_is_installed_but_broken_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    (tmp_path / "broken_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DependencyError) as caught, needs("broken_package"):
        importlib.import_module("broken_package")
    assert caught.value.cause.startswith(f"The package broken_package cannot be used: {reason}")
    assert "pip install --upgrade broken_package" in caught.value.remedy


def test_other_errors_and_imports_that_succeed_are_left_alone() -> None:
    with needs("os"):
        importlib.import_module("os")
    with pytest.raises(ZeroDivisionError), needs("os"):
        _ = 1 / 0
