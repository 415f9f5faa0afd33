"""How much memory there is, and how much the network takes."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .allocator import kept_bytes

# Bytes a voxel for the network with 4 base filters, from Benchmarks/forward.py and training_step.py, rounded up: of the
# image at once, of a slab, and of the image besides; of a training step.
_INFERENCE_BYTES = 170
_SLAB_BYTES, _KEPT_BYTES = 250, 16
_TRAINING_BYTES = {"float32": 560, "bfloat16": 410}

_PROC = Path("/proc")

# Linux's control groups of version 2 and 1: their folder, and where they tell limit, use and the cache of files.
_CGROUPS = (
    (Path("/sys/fs/cgroup"), ("memory.max", "memory.current", "inactive_file")),
    (Path("/sys/fs/cgroup/memory"), ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
)

# Python, PyTorch and what else is loaded.
BASE_BYTES = 500 * 2**20


def inference_bytes(voxels: int, base_filters: int = 4, classes: int = 4) -> int:
    """Peak memory in bytes of one forward pass over ``voxels``, without :data:`BASE_BYTES`."""
    return int(voxels * (_INFERENCE_BYTES * base_filters / 4 + 8 * classes))


def slab_thickness(limit: float, shape: Sequence[int], base_filters: int = 4, classes: int = 4) -> int:
    """Layers of a slab, for :func:`slabs.forward_in_slabs`, that take ``limit`` bytes; at least 8, and even."""
    i, j, k = shape
    kept = i * j * k * (_KEPT_BYTES * base_filters / 4 + 8 * classes)
    layers = (limit - kept) / (i * j * _SLAB_BYTES * base_filters / 4) - 8  # and what a slab sees beside it
    return max(8, min(int(layers) // 2 * 2, k))


def training_bytes(voxels: int, precision: str, base_filters: int = 4) -> int:
    """Peak memory in bytes of one training step over ``voxels``, without :data:`BASE_BYTES`."""
    return int(voxels * _TRAINING_BYTES[precision] * base_filters / 4)


def available_bytes() -> int:
    """Memory that can be had now without swapping, as far as the system tells."""
    if sys.platform == "win32":
        return _windows_available()
    meminfo = _PROC / "meminfo"
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return min(int(lines["MemAvailable"].split()[0]) * 1024, _container_available()) + kept_bytes()
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total // 2  # macOS does not tell what is free; half is what a desktop can usually spare


def _container_available() -> int:
    """What the control groups of a container, or of a job of a cluster, still allow."""
    try:
        lines = [line.split(":", 2) for line in (_PROC / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        return sys.maxsize
    least = sys.maxsize
    for _, controllers, name in lines:
        if controllers and "memory" not in controllers.split(","):
            continue
        root, files = _CGROUPS[bool(controllers)]
        own = root / name.lstrip("/")
        # A group has the limits of those above it too. Within a container its own group stands at the root.
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                least = min(least, _group_available(group, *files))
    return least


def _group_available(group: Path, limit: str, used: str, cached: str) -> int:
    try:
        left = int((group / limit).read_text()) - int((group / used).read_text())
        lines = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, left + int(lines[cached]))  # what files were read counts as used, but gives way
    except (OSError, ValueError, KeyError):  # no such group, or no limit ("max")
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
