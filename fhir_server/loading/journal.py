"""What of a file has been loaded, so that a load that was interrupted goes on where it was.

One small file of JSON lines for each source, in the data folder. A line is written after its task is durable; the requests carry
Idempotency-Keys, so that a crash between the two does not load a task twice. Lines written for another database (the file was
deleted, or restored from an older backup) do not count: each knows the store's position of its time.
"""

import json
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex

FOLDER = "load"


class Journal:
    """The journal of one source. `done`: line numbers that need no loading; `complete`: nothing of the source does.

    `run` is part of the Idempotency-Keys: the same for all attempts at one load, another for another.
    """

    def __init__(self, path: Path | None, position: int | None = None) -> None:
        self.done: set[int] = set()
        self.complete = False
        self.run = token_hex(8)
        self._path = path
        self._position = position
        if path is not None and path.exists():
            self._read(path.read_text(encoding="utf-8"))
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8") if path is not None else None
        if not self.done:
            self._write({"run": self.run, "position": 0})

    def _read(self, text: str) -> None:
        for line in text.splitlines():
            try:
                record = json.loads(line)
                known = self._position is None or record["position"] <= self._position
                if known:
                    self.done.update(record.get("lines", ()))
                    self.complete = self.complete or record.get("complete", False)
                    self.run = record.get("run", self.run)
            except (ValueError, KeyError, TypeError):  # the end of a line that a crash cut short
                continue

    def add(self, lines: Iterable[int], position: int) -> None:
        """These lines are loaded; `position` is the store's afterwards."""
        self._write({"lines": list(lines), "position": position})

    def finish(self, position: int, *, keep: bool) -> None:
        """All of the source is loaded. `keep`: remember it, so that it is not loaded a second time by mistake."""
        if keep:
            self._write({"complete": True, "position": position})
        elif self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, record: dict[str, object]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(record, separators=(",", ":")) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Nothing more will be written."""
        if self._file is not None:
            self._file.close()


def journal_path(data_dir: Path, identity: str, where: str) -> Path:
    """The journal of a source loaded to `where` (a store or a server)."""
    return data_dir / FOLDER / f"{identity}-{blake2b(where.encode(), digest_size=4).hexdigest()}.jsonl"
