"""What a verification of the audit finds."""

from typing import Literal

import msgspec

Kind = Literal["changed", "removed", "inserted", "moved", "unreadable", "checkpoint", "key", "archive"]

SHOWN = 1_000
"""Most findings that are listed; all are counted."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it was written. `where` is `AuditEvent/event-12`, `checkpoint 7` or `key …`; `position`, `writer` and
    `number` say where in the store and in whose chain (0, "": not known)."""

    kind: Kind
    where: str
    text: str
    position: int = 0
    writer: str = ""
    number: int = 0


class Report(msgspec.Struct):
    """What was looked at, and what is wrong.

    `linked`: AuditEvents in chains; `before`: those from before there were chains; `sent`: those that clients sent, which have none;
    `unsigned`: those after the last checkpoint, of which the newest could be cut off unseen; `writers`, `checkpoints`, `anchors`: how many
    there are; `until`: the position up to which checkpoints hold; `archived`: events in archives that were looked at; `elsewhere`: those
    of archives that are, in whole or in part, no longer in the store; `late`: events that were spoilt when a checkpoint passed over them
    and can be read again, the first SHOWN of them named in `returned`. Chains alone cover these; nothing is wrong with them."""

    linked: int = 0
    before: int = 0
    sent: int = 0
    unsigned: int = 0
    writers: int = 0
    checkpoints: int = 0
    anchors: int = 0
    until: int = 0
    archived: int = 0
    elsewhere: int = 0
    late: int = 0
    wrong: int = 0
    returned: list[str] = []
    findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Note what is wrong."""
        self.wrong += 1
        if len(self.findings) < SHOWN:
            self.findings.append(finding)

    def came_back(self, id: str) -> None:
        """Note an AuditEvent that a checkpoint has passed over and that can be read again."""
        self.late += 1
        if len(self.returned) < SHOWN:
            self.returned.append(f"AuditEvent/{id}")
