"""What holds for every test: real servers that tests started are stopped when the run ends (services/running.py), and no test fails because
the machine was busy for a while with something else."""

import inspect

import httpx
import pytest
from hypothesis import HealthCheck, settings
from services.running import begin_run, end_run

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_usual: httpx.Timeout = inspect.signature(httpx.get).parameters["timeout"].default  # one object for all of httpx: five seconds
_usual.connect = _usual.read = _usual.write = _usual.pool = 60.0


def pytest_configure(config: pytest.Config) -> None:
    """Before worker processes start, so that all of them share this run's servers."""
    begin_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    """After the last test of the last worker."""
    end_run()
