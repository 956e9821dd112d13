"""Follows the chains of all writers through the AuditEvents, in order of position, and notes each that does not fit."""

from fhir_server.auditing.findings import Finding, Kind, Report
from resources.instants import instant_text
from resources.store import Version
from resources.stores.chain import NOTHING, Link
from resources.stores.events import is_own


class _State:
    """A writer's newest event so far: its number, hash and place. `adrift`: what stood there was not its own."""

    __slots__ = ("adrift", "hash", "number", "position")

    def __init__(self, number: int, hash: str, position: int, adrift: bool = False) -> None:
        self.number, self.hash, self.position, self.adrift = number, hash, position, adrift


class Chains:
    """`report` gets what is wrong. `whole`: events come from the very first one on, so that each chain begins with its number 1."""

    def __init__(self, report: Report, *, whole: bool) -> None:
        self._report, self._whole = report, whole
        self._states: dict[str, _State] = {}
        self._begun = False

    def known(self, writer: str, number: int, hash: str) -> None:
        """Begin a writer's chain after this event, which was verified before."""
        self._states[writer] = _State(number, hash, 0)
        self._begun = True

    def take(self, version: Version, hashed: bytes, link: Link | None) -> None:
        """The next AuditEvent, the hash of its bytes, and the link that it bears."""
        report = self._report
        if link is None:
            self._unlinked(version)
            return
        self._begun = True
        report.linked += 1
        if link.position != version.position:
            self._wrong("moved", version, link, f"it says of itself that it is event-{link.position}")
            self._states[link.writer] = _State(link.number, "", version.position, adrift=True)
            return
        if link.instant != instant_text(version.instant):
            self._wrong("changed", version, link, f"it says {link.instant}, and was written at {instant_text(version.instant)}")
        self._follow(version, hashed, link)

    def _unlinked(self, version: Version) -> None:
        if not is_own(version):
            self._report.sent += 1
        elif self._begun:
            self._report.linked += 1
            self._wrong(
                "changed", version, None, "it bears no link to the event before it, as all events since the first linked one do"
            )
        else:
            self._report.before += 1

    def _follow(self, version: Version, hashed: bytes, link: Link) -> None:
        state = self._states.get(link.writer)
        if state is None:
            self._report.writers += 1
            if self._whole and link.number > 1:
                self._gone(version, link, 1, None)
            elif link.number == 1 and link.previous != NOTHING:
                self._wrong("changed", version, link, "it is the first of its writer, and names another before it")
        elif state.adrift:
            pass  # told already
        elif link.number > state.number + 1:
            self._gone(version, link, state.number + 1, state)
        elif link.number <= state.number:
            self._wrong("inserted", version, link, f"its writer's number {state.number} stands before it")
            self._states[link.writer] = _State(link.number, "", version.position, adrift=True)
            return
        elif link.previous != state.hash:
            place = state.position
            text = f"event-{version.position}, which follows it, names another hash than it has now"
            self._report.add(Finding("changed", f"AuditEvent/event-{place}", text, place, link.writer, state.number))
        self._states[link.writer] = _State(link.number, hashed.hex(), version.position)

    def ends(self, writer: str, number: int, hash: str, checkpoint: int) -> None:
        """A checkpoint says that a writer's newest event has this number and hash."""
        state = self._states.get(writer)
        if state is None or state.number < number:
            first = 1 if state is None else state.number + 1
            what = f"numbers {first} to {number} of writer {writer}" if first < number else f"number {number} of writer {writer}"
            last = "nothing of it is left" if state is None else f"its last one left is event-{state.position}"
            text = f"{what}: checkpoint {checkpoint} has them signed; {last}"
            self._report.add(Finding("removed", f"writer {writer}", text, 0 if state is None else state.position, writer, first))
            self._states[writer] = _State(number, hash, 0 if state is None else state.position)
        elif state.number == number and state.hash != hash and not state.adrift:
            place = state.position
            text = f"checkpoint {checkpoint} signed another hash than it has now"
            self._report.add(Finding("changed", f"AuditEvent/event-{place}", text, place, writer, number))
            state.adrift = True

    def _gone(self, version: Version, link: Link, first: int, state: _State | None) -> None:
        what = f"number {first}" if first == link.number - 1 else f"numbers {first} to {link.number - 1}"
        after = "" if state is None else f" after event-{state.position}"
        text = f"{what} of writer {link.writer}{after}: it stood before event-{version.position}, which follows it"
        place = version.position if state is None else state.position + 1
        self._report.add(Finding("removed", f"before AuditEvent/event-{version.position}", text, place, link.writer, first))

    def _wrong(self, kind: Kind, version: Version, link: Link | None, text: str) -> None:
        writer, number = (link.writer, link.number) if link is not None else ("", 0)
        self._report.add(Finding(kind, f"AuditEvent/{version.id}", text, version.position, writer, number))
