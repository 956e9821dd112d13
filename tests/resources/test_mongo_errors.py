"""What people are told of the driver's errors."""

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    WriteError,
    WTimeoutError,
)

from resources.stores.mongo.errors import Errors

URL = "mongodb://clerk:wonderland@db.example:27017/records?tls=true"


@pytest.mark.parametrize(
    ("problem", "told", "full"),
    [
        (OperationFailure("disk", 14031), "disk of the database is full", True),
        (WriteError("could not write: No space left on device", 8), "disk of the database is full", True),
        (BulkWriteError({"writeErrors": [{"code": 14031, "errmsg": "disk"}]}), "disk of the database is full", True),
        (OperationFailure("Authentication failed.", 18), "refuses this server's user", False),
        (OperationFailure("not authorized on records", 13), "refuses this server's user", False),
        (NotPrimaryError("not primary"), "choosing a new primary", False),
        (OperationFailure("stepped down", 189), "choosing a new primary", False),
        (OperationFailure("WriteConflict", 112), "Too many requests are waiting", False),
        (WaitQueueTimeoutError("pool"), "Too many requests are waiting", False),
        (NetworkTimeout("timed out"), "did not answer in time", False),
        (WTimeoutError("waiting for replication timed out", 64), "did not answer in time", False),
        (ServerSelectionTimeoutError("No primary available for writes"), r"has no primary.*rs\.initiate", False),
        (ServerSelectionTimeoutError('No replica set members match selector "Primary()", Timeout: 3.0s'), "has no primary", False),
        (ServerSelectionTimeoutError("Connection refused, Timeout: 3.0s, <ReplicaSetNoPrimary>"), "check that it runs", False),
        (ServerSelectionTimeoutError("SSL handshake failed: certificate verify failed"), "cannot be reached with TLS", False),
        (ServerSelectionTimeoutError("Connection refused"), "cannot be reached; check that it runs", False),
        (AutoReconnect("connection closed"), "cannot be reached; check that it runs", False),
        (OperationFailure("something new", 4711), "refused; nothing was written", False),
    ],
)
def test_an_error_becomes_a_sentence_for_people(problem: PyMongoError, told: str, full: bool) -> None:
    """It says what is wrong and what to do; of a commit whose fate is unknown it never says that nothing was written."""
    errors = Errors(URL)
    certain = errors.unavailable(problem)
    with pytest.raises(type(certain), match=told):
        raise certain
    assert (certain.full, certain.uncertain) == (full, False)
    doubtful = errors.unavailable(problem, uncertain=True)
    assert (doubtful.full, doubtful.uncertain) == (full, True)
    assert "not certain whether this was written" in str(doubtful)
    assert "nothing was written" not in str(doubtful)


def test_neither_sentence_nor_log_tells_the_password(caplog: pytest.LogCaptureFixture) -> None:
    """The host and the database are named, the user and the password are not."""
    problem = OperationFailure("bad credentials clerk:wonderland", 18)
    text = str(Errors(URL).unavailable(problem)) + caplog.text
    assert "db.example:27017/records" in text
    assert "wonderland" not in text
    assert "clerk" not in text
