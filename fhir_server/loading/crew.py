"""The load itself: reads the sources, hands tasks to the load processes, and keeps account.

Order. Transactions run side by side. A `batch` waits for everything before it and everything after waits for it: population files
begin with batches of the hospitals and practitioners that all else refers to. Single resources run side by side unless one task has
a resource that another one under way has too. What is refused is tried again at the end of its file and at the end of everything, if
more has been loaded by then: what it refers to may have come later.
"""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from fhir_server.config import Settings
from fhir_server.loading.answers import Answer
from fhir_server.loading.journal import Journal, journal_path
from fhir_server.loading.sources import Document, Source, Unreadable
from fhir_server.loading.tasks import Fault, Task, cut, smaller
from fhir_server.loading.worker import Remote, work

KEPT = 64_000_000
"""Most bytes of refused tasks kept in memory to be tried again."""

START = 120.0
"""Seconds that a load process may take to be ready."""


@dataclass(frozen=True, slots=True)
class Failed:
    """One document or entry that was not loaded. `issues` are code, sentence and FHIRPath of each reason."""

    source: str
    line: int
    entry: int | None
    text: str
    issues: tuple[tuple[str, str, str | None], ...] = ()


@dataclass(slots=True)
class Totals:
    """What came of a load. `skipped`: sources that had been loaded before."""

    resources: int = 0
    requests: int = 0
    failed: list[Failed] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@contextmanager
def _undivided() -> Iterator[None]:
    """Ctrl-C counts after this, not in the middle: a load process with half a task, or whose answer was dropped, is waited for in vain."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked and callable(before):
        before(signal.SIGINT, None)


class Stopped(Exception):
    """The load cannot go on (store unavailable, process killed); the text says why. What was loaded stays loaded."""


class _Process:
    """A load process and what it is doing."""

    def __init__(self, target: Settings | Remote, first: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(other, target, first), daemon=True)
        self.process.start()
        other.close()
        self.job: _Job | None = None

    def ready(self) -> None:
        """Wait until it can work. Raises Stopped."""
        if not self.pipe.poll(START):
            raise Stopped("a load process did not start")
        if (problem := self.receive()) is not None:
            raise Stopped(str(problem))

    def send(self, job: "_Job") -> None:
        key = "" if job.task.kind in ("batch", "one by one") else job.task.key(job.file.journal.run)
        with _undivided():
            self.job = job
            self.pipe.send((key, job.task.kind == "resources"))
            self.pipe.send_bytes(job.task.body)

    def receive(self) -> Answer | str | None:
        try:
            got: Answer | str | None = self.pipe.recv()
        except EOFError:
            self.process.join(5)
            where = f" at {self.job.file.source.name} line {self.job.task.lines[0]}" if self.job else ""
            raise Stopped(f"a load process ended by itself{where} (exit code {self.process.exitcode})") from None
        return got

    def stop(self) -> None:
        """Let it finish what it is doing, and wait for that."""
        try:
            self.pipe.send(None)
        except OSError:
            self.process.kill()
        self.process.join()


@dataclass(slots=True, eq=False)
class _File:
    source: Source
    journal: Journal
    position: int = 0
    faults: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A task of a file. `seen`: how many resources were loaded when it was refused with `answer`."""

    file: _File
    task: Task
    seen: int = -1
    answer: Answer | None = None


class Load:
    """One load to `target` with `processes` processes. `progress` is called after each answer. `first`: see `LocalServer`."""

    def __init__(
        self,
        target: Settings | Remote,
        data_dir: Path,
        processes: int,
        progress: Callable[[Totals], None],
        *,
        first: bool = False,
    ) -> None:
        self.totals, self._first = Totals(), first
        self._target, self._data_dir, self._progress, self._count = target, data_dir, progress, processes
        self._crew: list[_Process] = []
        self._refused: list[_Job] = []
        self._kept = 0

    def run(self, sources: Sequence[Source], *, anew: bool, position: int | None) -> Totals:
        """Load the sources in order. `anew`: also what was loaded before. `position`: the store's now, None if unknown.

        Raises Stopped, or Unreadable where a file cannot be opened; KeyboardInterrupt comes through. In every case what was answered
        stays loaded, and the journal knows it.
        """
        files: list[_File] = []
        try:
            for source in sources:
                file = self._open(source, anew, position)
                files.append(file)
                if file.journal.complete:
                    self.totals.skipped.append(source.name)
                else:
                    self._load(file)
            self._try_again(files)
            for job in self._refused:
                self._settle(job, job.answer or Answer(0))
            self._finish(files)
        except KeyboardInterrupt:
            self._drain()
            raise
        finally:
            for process in self._crew:
                process.stop()
            for file in files:
                file.journal.close()
        return self.totals

    def _finish(self, files: Sequence[_File]) -> None:
        """What was loaded into the store is remembered; what went to a server is not, that may be another one next time."""
        for file in files:
            if not file.faults and not file.journal.complete:
                file.journal.finish(file.position, keep=not isinstance(self._target, Remote))

    def _open(self, source: Source, anew: bool, position: int | None) -> _File:
        path = journal_of(source, self._target, self._data_dir)
        if anew and path is not None:
            path.unlink(missing_ok=True)
        return _File(source, Journal(path, position))

    def _load(self, file: _File) -> None:
        if not self._crew:
            self._crew = [_Process(self._target, self._first) for _ in range(self._count)]
            for process in self._crew:
                process.ready()
        for made in cut(self._documents(file)):
            if isinstance(made, Fault):
                self._fault(file, made)
            else:
                self._give(_Job(file, made))
        self._drain()
        self._try_again([file])

    def _documents(self, file: _File) -> Iterator[Document]:
        """What of the file is to be loaded; one that is cut off or damaged keeps nothing from being loaded but what comes after that."""
        line = 0
        try:
            for document in file.source.documents():
                line = document.line
                if line not in file.journal.done:
                    yield document
        except Unreadable as problem:
            self._fault(file, Fault(line + 1, None, str(problem)))

    def _give(self, job: _Job) -> None:
        """Hand the job to a free process, after whatever it has to wait for."""
        if job.task.kind == "batch":
            self._drain()
        while any(p.job is not None and p.job.task.addresses & job.task.addresses for p in self._crew):
            self._collect()
        while (free := next((p for p in self._crew if p.job is None), None)) is None:
            self._collect()
        free.send(job)
        if job.task.kind == "batch":
            self._drain()

    def _drain(self) -> None:
        while any(p.job is not None for p in self._crew):
            self._collect()

    def _collect(self) -> None:
        """Wait for answers and account for them."""
        ready = wait([p.pipe for p in self._crew if p.job is not None])
        for process in self._crew:
            if process.pipe in ready and process.job is not None:
                with _undivided():
                    answer, job = process.receive(), process.job
                    process.job = None
                    if isinstance(answer, Answer):
                        self._account(job, answer)

    def _account(self, job: _Job, answer: Answer) -> None:
        if answer.unavailable:
            raise Stopped(answer.problems[0].text)
        self.totals.requests += 1
        self.totals.resources += answer.done
        if answer.whole and (parts := smaller(job.task)):
            for part in parts:
                self._give(_Job(job.file, part))
        elif answer.whole and self._worth_another_try(job):
            self._kept += len(job.task.body)
            self._refused.append(_Job(job.file, job.task, self.totals.resources, answer))
        else:
            self._settle(job, answer)
        self._progress(self.totals)

    def _worth_another_try(self, job: _Job) -> bool:
        return self.totals.resources > job.seen and self._kept + len(job.task.body) <= KEPT

    def _try_again(self, files: Sequence[_File]) -> None:
        """The refused tasks of these files once more, if anything has been loaded since they were refused."""
        while jobs := [job for job in self._refused if job.file in files and self.totals.resources > job.seen]:
            for job in jobs:
                self._refused.remove(job)
                self._kept -= len(job.task.body)
            for job in jobs:
                self._give(job)
            self._drain()

    def _settle(self, job: _Job, answer: Answer) -> None:
        """Write down what is loaded, and tell what is not."""
        wrong = {part.line for part in job.task.parts if part.entry is not None}  # other tasks may have more of the same line
        for number, text, issues in answer.problems:
            part = job.task.parts[number or 0] if job.task.parts else None
            line, entry = (part.line, part.entry) if part else (job.task.lines[0], number)
            wrong.add(line)
            self._fault(job.file, Fault(line, entry, text), issues)
        job.file.position = max(job.file.position, answer.position)
        if loaded := [line for line in job.task.lines if line not in wrong]:
            job.file.journal.add(loaded, answer.position)

    def _fault(self, file: _File, fault: Fault, issues: tuple[tuple[str, str, str | None], ...] = ()) -> None:
        file.faults += 1
        told = issues or (("structure", fault.text, None),)
        self.totals.failed.append(Failed(file.source.name, fault.line, fault.entry, fault.text, told))


def journal_of(source: Source, target: Settings | Remote, data_dir: Path) -> Path | None:
    """Where the journal of a source lies; None for standard input, and for a store that forgets everything."""
    identity = source.identity()
    if identity is None or (isinstance(target, Settings) and target.in_memory):
        return None
    return journal_path(data_dir, identity, target.url if isinstance(target, Remote) else target.documents)
