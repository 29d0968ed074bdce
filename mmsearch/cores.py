"""How many CPU cores this process may use for arithmetic."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(root: Path = Path("/sys")) -> int:
    """Return the physical cores that this process may use, at least 1.

    Counts hyper-threads of one core once (a second thread on a busy core slows a matrix product),
    keeps to the process's CPU mask, and to its container's quota: a container with 2 CPUs on a
    64-core host that starts 64 threads is throttled to a crawl.

    Args:
        root: where the kernel's /sys is; elsewhere only in tests.
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = sorted(os.sched_getaffinity(0))
        cores = len({_siblings(root, cpu) for cpu in cpus})
    else:
        cores = os.cpu_count() or 1  # macOS has no hyper-threads on Apple silicon
    return max(1, min(cores, _quota(root)))


def _siblings(root: Path, cpu: int) -> str:
    path = root / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return str(cpu)


def _quota(root: Path) -> int:
    """Return the cgroup's CPU quota in whole CPUs, rounded up; very large where there is none."""
    try:  # version 2: "max 100000" or "200000 100000"
        quota, period = (root / "fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:  # version 1; -1 is no limit
            folder = root / "fs/cgroup/cpu"
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return 1 << 30
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return 1 << 30
    return math.ceil(cpus) if cpus > 0 else 1 << 30
