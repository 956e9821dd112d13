"""Dates: shifted by a number of days that is the patient's own, or cut to their year (identifier C of Safe Harbor)."""

from datetime import date
from typing import Literal

from fhir_server.deidentifying.rules import form

Dates = Literal["shift", "year"]
"""`shift`: all dates of a patient go back by the same number of days. `year`: only the year stays."""

YEAR_ONLY = 0
"""In the place of a number of days: nothing but the year may stay."""

OLD = 90
"""From this age on people count as one group, and no date is kept that lies so many years back."""

_DATE = form(r"(\d{4})(-\d\d(-\d\d)?)?")
_MOMENT = form(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,12})?)?(Z|[+-]\d\d:\d\d)?")
_OFFSET = form(r"[+-]\d\d:\d\d$")
_TIME = form(r"\d\d:\d\d:\d\d(\.\d{1,12})?")


class Calendar:
    """Dates as they were known on `today`: those that lie 90 years back or more tell of such an age, and go."""

    def __init__(self, today: date) -> None:
        leap = today.month == 2 and today.day == 29
        self._oldest = today.replace(year=today.year - OLD, day=28 if leap else today.day).toordinal()

    def shown(self, text: object, days: int) -> str | None:
        """A date or dateTime `days` days earlier, or its year (YEAR_ONLY). None where it tells of an age of 90 or is no date of FHIR.

        A day keeps the time of its clock, and the offset becomes Z: with summer and winter time it would tell when it was. A month or
        year without a day is taken for its middle.
        """
        if type(text) is not str:
            return None
        partial = _DATE.fullmatch(text)
        if partial is None and not _MOMENT.fullmatch(text):
            return None
        try:
            if partial is None or len(text) == 10:
                return self._day(date.fromisoformat(text[:10]), text[10:], days)
            return self._partial(int(text[:4]), int(text[5:]) if len(text) > 4 else 0, days)
        except (ValueError, OverflowError):  # no such day; or before the year 1
            return None

    def instant(self, text: object, days: int) -> str | None:
        """As `shown`; None where only the year may stay, which no instant can be cut to."""
        return self.shown(text, days) if days != YEAR_ONLY else None

    def time(self, text: object, days: int) -> str | None:
        """A time of day; None where only the year of dates may stay."""
        return text if days != YEAR_ONLY and type(text) is str and _TIME.fullmatch(text) else None

    def _day(self, day: date, rest: str, days: int) -> str | None:
        ordinal = day.toordinal()
        if ordinal <= self._oldest:
            return None
        if days == YEAR_ONLY:
            return f"{day.year:04}"
        if rest and rest[-1] != "Z":
            rest = f"{_OFFSET.sub('', rest)}Z"
        return date.fromordinal(ordinal - days).isoformat() + rest

    def _partial(self, year: int, month: int, days: int) -> str | None:
        if date(year, month or 1, 1).toordinal() <= self._oldest:
            return None
        if days == YEAR_ONLY:
            return f"{year:04}"
        middle = date(year, month, 15) if month else date(year, 7, 2)
        return date.fromordinal(middle.toordinal() - days).isoformat()[: 7 if month else 4]
