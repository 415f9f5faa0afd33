"""Freed memory is kept where it was asked for, and only there."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from TransferSegLib import allocator
from TransferSegLib.allocator import keep_memory, kept_bytes

# Of a process of its own, whose heap nothing else has used.
BEGIN = """
import os, resource
from contextlib import nullcontext
import numpy as np
from TransferSegLib.allocator import keep_memory, keep_memory_for_good, kept_bytes

MB = 2**20

def use():
    "Megabytes that the system has to find for 200 of them, and that the process has afterwards."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(200 * MB, np.uint8)
    fetched = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * os.sysconf("SC_PAGE_SIZE") / MB
    with open("/proc/self/statm") as file:
        return fetched, int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB

_, at_first = use()
"""


def run(script: str) -> None:
    if allocator._library() is None:
        pytest.skip("for GNU's C library alone")
    environment = {"PATH": "", "PYTHONPATH": ":".join(sys.path), "NUMPY_MADVISE_HUGEPAGE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(script)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_within_it_memory_is_fetched_once() -> None:
    run("""
        assert use()[0] > 190
        with keep_memory():
            use()
            fetched, has = use()
        assert fetched < 10
        assert has > at_first + 190
        """)


def test_at_the_end_it_is_given_back_and_no_longer_kept() -> None:
    run("""
        with keep_memory():
            use()
        fetched, has = use()
        assert fetched > 190
        assert has < at_first + 10
        """)


def test_an_error_gives_it_back_too() -> None:
    run("""
        try:
            with keep_memory():
                use()
                raise ValueError
        except ValueError:
            pass
        assert use()[1] < at_first + 10
        """)


def test_of_several_the_last_to_leave_gives_it_back() -> None:
    run("""
        with keep_memory():
            with keep_memory():
                use()
            assert use()[0] < 10
        assert use()[0] > 190
        """)


def test_a_process_of_ours_keeps_it_to_its_end() -> None:
    run("""
        keep_memory_for_good()
        with keep_memory():
            use()
        assert use()[0] < 10
        """)


def test_what_is_kept_is_known() -> None:
    run("""
        assert kept_bytes() == 0
        with keep_memory():
            before = kept_bytes()
            use()
            assert 190 < (kept_bytes() - before) / MB < 210
        assert kept_bytes() == 0
        """)


def test_where_the_c_library_is_another_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_library", lambda: None)
    with keep_memory():
        assert kept_bytes() == 0
