"""What processes take: CPU time of a tree of them, and the memory of one."""

import os
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """CPU seconds that a process and all below it have taken so far, with those of their children that have ended."""
    parents: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has just ended
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
            seconds[int(folder.name)] = sum(map(int, fields[11:15])) / _TICKS
    total, left = 0.0, [pid]
    while left:
        one = left.pop()
        total += seconds.get(one, 0.0)
        left += parents.get(one, [])
    return total


def memory_of(pid: int) -> tuple[float, float]:
    """Of one process, in MB: its own memory (RssAnon and RssShmem: resident pages that are no file's), and all that is resident (VmRSS)."""
    status = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
    return (int(status["RssAnon"]) + int(status["RssShmem"])) / 1e3, int(status["VmRSS"]) / 1e3


class Peak:
    """The most memory that a process takes in a `with` statement, looked at every 50 ms: `own` and `resident`, see `memory_of`."""

    def __init__(self, pid: int) -> None:
        self.own = self.resident = 0.0
        self._pid, self._end = pid, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._end.wait(0.05):
            try:
                own, resident = memory_of(self._pid)
            except (FileNotFoundError, ProcessLookupError, KeyError):
                return  # it has ended
            self.own, self.resident = max(self.own, own), max(self.resident, resident)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
