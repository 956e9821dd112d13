"""What the people who run the server see: structured logs on standard error, counters and latencies for Prometheus.

Neither carries anything of a patient: interactions by name, never paths, ids or query strings; of a failure its type and where it
happened, never its message, which may quote what was sent.
"""

import asyncio
import logging
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the latency histogram, in seconds."""

FRAMES = 40
"""Frames that are told of each failure, the innermost ones."""

CAUSES = 8
"""Failures that are told of one chain."""

OURS = ("conformance", "fhir_server", "resources", "search", "smart_auth", "uvicorn")
"""Loggers whose messages are known to name no patient and no secret."""

_ROOT = f"{Path(__file__).resolve().parents[1]}/"
_log = logging.getLogger("fhir_server")
_encode = msgspec.json.Encoder(enc_hook=str).encode
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, whatever was given as `extra`, and where an exception came from."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line).decode()

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The types of an exception and its causes, each with its frames (file:line in function), without any message."""
        failure: BaseException | None = ei[1]
        return "\n".join(_told(failure)) if failure is not None else ""


def _told(failure: BaseException) -> Iterator[str]:
    one: BaseException | None = failure
    for _ in range(CAUSES):
        if one is None:
            return
        yield type(one).__qualname__ if one is failure else f"caused by {type(one).__qualname__}"
        yield from _frames(one.__traceback__)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _frames(trace: TracebackType | None) -> Iterator[str]:
    for frame, line in list(traceback.walk_tb(trace))[-FRAMES:]:
        code = frame.f_code
        yield f"  {code.co_filename.removeprefix(_ROOT)}:{line} in {code.co_qualname}"


def log_lost_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the event loop calls for an exception that nobody waits for. Its own words quote arguments; they are not logged."""
    _log.error("a task or callback failed", exc_info=context.get("exception"))


def configure_logging(level: str) -> None:
    """Send all logs of this process, those of uvicorn too, to standard error as JSON lines: ours from `level` on, libraries' warnings
    only, since what they tell beneath holds URLs with their signatures, headers and documents."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"


class Metrics:
    """Counters and latency histograms of this process, by interaction. `running` requests are under way, `observed` ones were answered."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._started = time.time()
        self.running = self.observed = 0

    def observe(self, interaction: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.observed += 1
        self._requests[interaction, status] += 1
        self._seconds[interaction] += seconds
        counts = self._buckets[interaction]
        for place, bound in enumerate(BUCKETS):
            if seconds <= bound:
                counts[place] += 1
                return
        counts[-1] += 1

    def render(self) -> str:
        """Everything in the text format of Prometheus (version 0.0.4)."""
        return "\n".join((*self._lines(), ""))

    def _lines(self) -> Iterator[str]:
        yield "# HELP fhir_requests_total Requests answered, by interaction and HTTP status."
        yield "# TYPE fhir_requests_total counter"
        for (interaction, status), count in sorted(self._requests.items()):
            yield f'fhir_requests_total{{interaction="{interaction}",status="{status}"}} {count}'
        yield "# HELP fhir_request_seconds Time from the request's last header to the answer's last byte handed over."
        yield "# TYPE fhir_request_seconds histogram"
        for interaction, counts in sorted(self._buckets.items()):
            running = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                running += count
                yield f'fhir_request_seconds_bucket{{interaction="{interaction}",le="{bound}"}} {running}'
            yield f'fhir_request_seconds_sum{{interaction="{interaction}"}} {self._seconds[interaction]:.6f}'
            yield f'fhir_request_seconds_count{{interaction="{interaction}"}} {running}'
        yield "# HELP fhir_requests_running Requests being worked on."
        yield "# TYPE fhir_requests_running gauge"
        yield f"fhir_requests_running {self.running}"
        yield "# HELP process_start_time_seconds Start of this process, seconds since the epoch."
        yield "# TYPE process_start_time_seconds gauge"
        yield f"process_start_time_seconds {self._started:.3f}"
