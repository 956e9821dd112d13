"""Real servers for tests: each started once in a test run, whatever the number of worker processes, and stopped at its end.

`service("mongo")` gives the URL of a running server. `TEST_<NAME>_URL` (TEST_MONGO_URL, TEST_ELASTICSEARCH_URL, TEST_POSTGRES_URL)
names one that runs already; it is used as it is and never stopped. Otherwise the script `tests/services/<name>/<name>.sh` does the
work; it understands

    install             fetch or build the server; exit 0 where that was done already
    start PORT FOLDER   start on 127.0.0.1 with its data in FOLDER, wait until it answers, print its URL as the last line
    stop                stop what `start` started

and keeps what it installs below $SERVICES_HOME (default: ~/.cache/fhir-services), what it notes of a running server in the folder
$SERVICE_RUN (its process number in the file `pid`). Where a server cannot be had the test is skipped, saying why in a line; in CI it fails.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

FOLDER = Path(__file__).parent
_RUN = "FHIRTEST_RUN"
"""Environment variable with the number of the process that began the test run; worker processes inherit it."""
INSTALL, START = 1_500.0, 120.0
"""Seconds that a server's installation and its start may take."""
NONE: Mapping[str, str] = {}
HELD = 100
"""Ports that are held at once, the latest of this process."""
_held = deque[socket.socket]()


class Unavailable(Exception):
    """A server cannot be had here; the text says why."""


def service(name: str) -> str:
    """The URL of the running server `name` (a folder beside this file), started if it is not running yet.

    Skips the test with one line where it cannot be had; in CI (environment variable CI) the test fails.
    """
    try:
        return _named(name) or _started(name)
    except Unavailable as problem:
        if os.environ.get("CI"):
            pytest.fail(f"{name}: {problem}", pytrace=False)
        pytest.skip(f"{name}: {problem}")


def begin_run() -> None:
    """Note which process this test run belongs to. Called once, before worker processes start."""
    os.environ.setdefault(_RUN, str(os.getpid()))


def end_run() -> None:
    """Stop what this test run started, and what runs left behind whose process is gone. Does nothing in a worker process."""
    if os.environ.get(_RUN) != str(os.getpid()):
        return
    with _alone("runs"):  # two that end together must not clear away the same one
        for run in _runs().iterdir() if _runs().exists() else ():
            if run.name == os.environ[_RUN] or not _alive(run.name):
                _end(run)


class Restartable:
    """A server of a test's own, that it may kill and start again: the same port and the same data.

    `options` are environment variables for its script.
    """

    def __init__(self, name: str, folder: Path, options: Mapping[str, str]) -> None:
        self._name, self._folder, self._options = name, folder, options
        self._port = free_port()
        self.url = ""

    def start(self) -> str:
        """Start it (again); returns its URL."""
        self.url = _start(self._name, self._folder / "run", self._port, self._folder / "data", self._options)
        return self.url

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would."""
        process = int((self._folder / "run" / "pid").read_text())
        os.kill(process, signal.SIGKILL)
        while _alive(str(process)):
            time.sleep(0.02)
        _script(self._name, self._folder / "run", "stop", timeout=60)

    def stop(self) -> None:
        """End it in good order."""
        _script(self._name, self._folder / "run", "stop", timeout=60)


@contextmanager
def own_server(name: str, folder: Path, **options: str) -> Iterator[Restartable]:
    """A started server of a test's own, its data in `folder`, gone at the end. `options` are environment variables for its script.
    Skips or fails as `service` does."""
    server = Restartable(name, folder, options)
    try:
        with _alone(name):
            _install(name)
        server.start()
    except Unavailable as problem:
        if os.environ.get("CI"):
            pytest.fail(f"{name}: {problem}", pytrace=False)
        pytest.skip(f"{name}: {problem}")
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody uses. It stays taken for all who look for a free one, also while a server of this port starts or
    is down; only servers that name it may listen there (SO_REUSEADDR, which all set)."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _held.append(holder)
    if len(_held) > HELD:
        _held.popleft().close()
    return int(holder.getsockname()[1])


def _named(name: str) -> str | None:
    return os.environ.get(f"TEST_{name.upper()}_URL")


def _started(name: str) -> str:
    """The URL of this run's server, started by whichever process comes first."""
    begin_run()
    run = _runs() / os.environ[_RUN] / name
    with _alone(name):
        noted, failed = run / "url", run / "failed"
        if noted.exists():
            return noted.read_text()
        if failed.exists():
            raise Unavailable(failed.read_text())
        run.mkdir(parents=True, exist_ok=True)
        try:
            _install(name)
            url = _start(name, run, free_port(), run / "data")
        except Unavailable as problem:
            failed.write_text(str(problem))  # the other tests need not try it again
            raise
        noted.write_text(url)
        return url


def _install(name: str) -> None:
    _script(name, _runs(), "install", timeout=INSTALL)


def _start(name: str, run: Path, port: int, data: Path, options: Mapping[str, str] = NONE) -> str:
    data.mkdir(parents=True, exist_ok=True)
    url = _script(name, run, "start", str(port), str(data), timeout=START, options=options).strip().splitlines()[-1]
    if not urlsplit(url).scheme:
        raise Unavailable(f"its start script gave no URL but {url!r}")
    return url


def _script(name: str, run: Path, *words: str, timeout: float, options: Mapping[str, str] = NONE) -> str:
    """What the server's script prints. Raises Unavailable with its last line of complaint."""
    environment = {**os.environ, **options, "SERVICE_RUN": str(run), "SERVICES_HOME": str(_home())}
    command = ["bash", str(FOLDER / name / f"{name}.sh"), *words]
    with tempfile.TemporaryFile("w+") as complaints:
        try:
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=complaints, stdin=subprocess.DEVNULL, text=True,
                timeout=timeout, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Unavailable(f"'{words[0]}' took more than {timeout:.0f} s") from None
        if done.returncode:
            complaints.seek(0)
            lines = complaints.read().strip().splitlines() or [f"'{words[0]}' ended with {done.returncode}"]
            raise Unavailable(lines[-1])
    return done.stdout


def _end(run: Path) -> None:
    for folder in run.iterdir():
        _script(folder.name, folder, "stop", timeout=60)
    shutil.rmtree(run, ignore_errors=True)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process of this machine at a time."""
    _home().mkdir(parents=True, exist_ok=True)
    with (_home() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _home() -> Path:
    return Path(os.environ.get("SERVICES_HOME") or Path.home() / ".cache" / "fhir-services")


def _runs() -> Path:
    return _home() / "runs"


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it may end between any two looks
        return not Path("/proc").is_dir()
