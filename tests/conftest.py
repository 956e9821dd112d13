"""What holds for every test: real servers that tests started are stopped when the run ends (services/running.py)."""

import pytest
from services.running import begin_run, end_run


def pytest_configure(config: pytest.Config) -> None:
    """Before worker processes start, so that all of them share this run's servers."""
    begin_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    """After the last test of the last worker."""
    end_run()
