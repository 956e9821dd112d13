"""What is told of lines that were not imported: files of OperationOutcomes, one a line
(https://hl7.org/fhir/R4/operationoutcome.html)."""

from collections.abc import Iterable, Sequence
from contextlib import aclosing

import msgspec

from fhir_server.files.contract import Files
from fhir_server.importing.wrong import Wrong, outcome
from fhir_server.jobs.job import Problem
from resources.outcomes import Issue, operation_outcome

NDJSON = "application/fhir+ndjson"

_decode = msgspec.json.Decoder(Wrong).decode


async def keep(files: Files, name: str, wrong: Iterable[Wrong]) -> None:
    """Put down what is wrong with some lines, until the job is done; the same for whoever does it again."""
    async with files.writing(name, "application/x-ndjson") as file:
        await file.write(b"".join(msgspec.json.encode(each) + b"\n" for each in wrong))


async def publish(files: Files, name: str, where: str, kept: Sequence[tuple[str, int]], problems: Sequence[Problem] = ()) -> None:
    """Make one file of OperationOutcomes of what was put down, in order: names, and how many lines there are before those that each
    counts; then of what kept the rest of the input from being read."""
    async with files.writing(name, NDJSON) as file:
        for source, before in kept:
            async with aclosing(files.reading(source)) as pieces:
                lines = b"".join([piece async for piece in pieces]).splitlines()  # of one portion
            for line in lines:
                await file.write(outcome(_decode(line), where, before))
        for problem in problems:
            await file.write(operation_outcome([Issue("fatal", problem.code, problem.text)]) + b"\n")
