"""How much memory there is, and how much the network takes."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# Bytes a voxel for the network with 4 base filters, from Benchmarks/memory.py, rounded up.
_INFERENCE_BYTES = 170
_TRAINING_BYTES = {"float32": 330, "bfloat16": 260}

# Python, PyTorch and what else is loaded.
BASE_BYTES = 500 * 2**20


def inference_bytes(voxels: int, base_filters: int = 4, classes: int = 4) -> int:
    """Peak memory in bytes of one forward pass over ``voxels``, without :data:`BASE_BYTES`."""
    return int(voxels * (_INFERENCE_BYTES * base_filters / 4 + 8 * classes))


def training_bytes(voxels: int, precision: str, base_filters: int = 4) -> int:
    """Peak memory in bytes of one training step over ``voxels``, without :data:`BASE_BYTES`."""
    return int(voxels * _TRAINING_BYTES[precision] * base_filters / 4)


def available_bytes() -> int:
    """Memory that can be had now without swapping, as far as the system tells."""
    if sys.platform == "win32":
        return _windows_available()
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return min(int(lines["MemAvailable"].split()[0]) * 1024, _container_available())
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total // 2  # macOS does not tell what is free; half is what a desktop can usually spare


def _container_available() -> int:
    """What the control group of a container or of a job of a cluster still allows."""
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        return int(limit.read_text()) - int(used.read_text())
    except (OSError, ValueError):  # no control group, or "max"
        return sys.maxsize


def _windows_available() -> int:
    class MemoryStatus(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("available", ctypes.c_ulonglong),
            ("others", ctypes.c_ulonglong * 5),
        ]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    ctypes.WinDLL("kernel32").GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return int(status.available)
