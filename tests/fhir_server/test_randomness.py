"""Random bytes come by the page and never twice."""

import os

from fhir_server.randomness import random_bytes


def test_no_bytes_are_given_out_twice() -> None:
    """Across the edge of a page too."""
    taken = [random_bytes(10) for _ in range(2_000)]
    assert {len(part) for part in taken} == {10}
    assert len(set(taken)) == 2_000


def test_a_child_process_has_bytes_of_its_own() -> None:
    """After a fork, parent and child go on with different bytes."""
    random_bytes(1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, random_bytes(16))
        os._exit(0)
    mine = random_bytes(16)
    os.waitpid(child, 0)
    assert os.read(read, 16) != mine
    os.close(read)
    os.close(write)
