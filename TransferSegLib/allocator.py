"""Allocator: freed memory is kept for the next tensor, in place of being given back and fetched anew each time.

A large tensor is otherwise mapped page by page, zeroed, and unmapped when it is freed: a fifth of the time of a
training step at 1 mm, a third of that of a forward pass (Docs/benchmarks.md). This is for GNU's C library, so for
Linux; elsewhere nothing happens.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

# Options of mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4

# Nothing is mapped by itself, and what is free at the end of the heap stays.
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}

# What the C library itself comes to in a process that has used blocks of 32 MiB.
_GIVE_BACK = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}

_lock = threading.Lock()
_holders = 0


@contextmanager
def keep_memory() -> Iterator[None]:
    """Within it freed memory is kept; at the end it is given back to the system.

    It can be nested and used by several threads: the first to enter and the last to leave count.
    """
    global _holders
    keep_memory_for_good()
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                _set(_GIVE_BACK)
                if library := _library():
                    library.malloc_trim(0)


def keep_memory_for_good() -> None:
    """Until the process ends: for one that is ours alone."""
    global _holders
    with _lock:
        _holders += 1
        if _holders == 1:
            _set(_KEEP)


def kept_bytes() -> int:
    """Memory that was freed and kept: the system counts it as used, but it can be had."""
    library = _library()
    return int(library.mallinfo2().fordblks) if library and _holders else 0


def _set(options: Mapping[int, int]) -> None:
    if library := _library():
        for option, value in options.items():
            library.mallopt(option, value)


_INFO = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _INFO]


@cache
def _library() -> Any:
    """GNU's C library, or None; of 2021 or later, which can tell what is kept."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    if not all(hasattr(library, name) for name in ("mallopt", "malloc_trim", "mallinfo2")):
        return None
    library.mallinfo2.restype = _Mallinfo2
    return library
