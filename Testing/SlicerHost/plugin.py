"""For the conftest.py of tests of the module: hidden errors fail the test, and each test starts with an empty scene.

from SlicerHost.plugin import clean_host, pytest_runtest_call  # noqa: F401
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from . import faults
from .host import is_real_slicer

__all__ = ["clean_host", "pytest_runtest_call"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """What went wrong in a slot, a timer, an observer or a thread during the test fails it."""
    faults.taken()
    with faults.hooks():
        result = yield
        if not is_real_slicer():
            import slicer

            slicer.app.processEvents()
    faults.raise_if_any()
    return result


@pytest.fixture(autouse=True)
def clean_host() -> Iterator[None]:
    """An empty scene, no module shown, no settings, nothing installed."""
    import slicer

    _leave(slicer)
    yield
    _leave(slicer)
    gc.collect()
    faults.raise_if_any()


def _leave(slicer: Any) -> None:
    if slicer.util.mainWindow() is not None and not is_real_slicer():
        slicer.util.selectModule("")
    slicer.mrmlScene.Clear(0)
    slicer.app.processEvents()
    if not is_real_slicer():
        from .extensions import installer

        installer.reset()
        slicer.app.userSettings().clear()
