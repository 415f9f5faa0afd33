"""Tests of the stand-in host itself, on a small module of their own."""

from pathlib import Path

from SlicerHost.host import start_host
from SlicerHost.plugin import clean_host, pytest_runtest_call  # noqa: F401

start_host([Path(__file__).parent / "DemoModule" / "DemoModule.py"])
