"""A server of its own for a test: started as people start it, watched, ended in whatever way the test is about."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from services.running import free_port as free_port

ROOT = Path(__file__).resolve().parents[2]
START = 120.0
"""Seconds that a start may take on a busy machine before a test gives up."""


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without FHIR_ settings, so that only what a test says counts."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("FHIR_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


def interruptible() -> None:
    """For `preexec_fn`: Ctrl-C counts in the new process, also where the tests themselves run in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Server:
    """`fhir-server serve --auth off` on a free port of 127.0.0.1; use it in a `with` statement.

    `prefix` is put before the command (`("prlimit", …)`), `environment` added to it.
    """

    def __init__(
        self,
        data_dir: Path,
        *options: str,
        port: int | None = None,
        prefix: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.data_dir, self.port = data_dir, port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.base = f"{self.url}/fhir"
        command = (sys.executable, "-m", "fhir_server", "serve", "--auth", "off")
        self._command = (*prefix, *command, "--port", str(self.port), "--data-dir", str(data_dir), *options)
        self._environment = clean_environment(**(environment or {}))
        self._log = data_dir.parent / f"{data_dir.name}-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.start_seconds = 0.0

    def start(self) -> Self:
        """Start it and wait until it says that it is ready. Raises AssertionError with its log if it does not."""
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        while not self.ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode} while starting:\n{self.log()}")
            if time.perf_counter() - began > START:
                self.kill()
                raise AssertionError(f"the server is not ready after {START} s:\n{self.log()}")
            time.sleep(0.01)
        self.start_seconds = time.perf_counter() - began
        return self

    def ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.suppress(OSError, HTTPException), contextlib.closing(connection):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False

    def log(self) -> str:
        """The end of what it wrote to standard output and standard error."""
        return self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""

    def kill(self) -> None:
        """SIGKILL to it and all its workers at once, as a power cut would."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def terminate(self) -> None:
        """SIGTERM to the main process, as every process manager does."""
        assert self.process is not None
        self.process.terminate()

    def wait(self, seconds: float = 60) -> int:
        """Its exit code. Raises AssertionError if it does not end."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end within {seconds} s:\n{self.log()}") from None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.terminate()
        return self.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
