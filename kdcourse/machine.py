"""What this machine gives to the course."""

import os


def cores() -> int:
    """Cores that this process may use: fewer than the machine has, where a container or a scheduler says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
