"""A hospital's extracts: 1,000 rows of people, visits and lab values, the same each time.

`python tests/migrating/people.py FOLDER` writes them.
"""

import csv
import random
import sys
from datetime import datetime, timedelta
from pathlib import Path

PEOPLE, VISITS, LABS = 250, 300, 450
FAMILIES = ("Müller", "O'Brien", "van der Berg", "Łukasz", "Smith; Jones", 'Doe "Joe"')
GIVEN = ("Anna", "Anna Maria", "Bert", "Chen", "Doğan")
TESTS = {"HB": ("g/dL", 8, 17), "NA": ("mmol/L", 130, 150)}
START = datetime(2024, 1, 1, 6, 15)  # noqa: DTZ001 (a clock on a wall)


def write(folder: Path) -> None:
    """Write people.csv, visits-1.csv, visits-2.csv and labs.csv."""
    chance = random.Random(7)
    people = [_person(chance, number) for number in range(1, PEOPLE + 1)]
    header = ["number", "surname", "given names", "sex", "born", "street", "town", "phone", "mail"]
    _write(folder / "people.csv", header, people, ";")
    visits = [_visit(chance, number) for number in range(1, VISITS + 1)]
    columns = ["visit", "patient", "kind", "from", "to"]
    _write(folder / "visits-1.csv", columns, visits[: VISITS // 2], ",")
    _write(folder / "visits-2.csv", columns, visits[VISITS // 2 :], ",")
    labs = [_lab(chance, number, visits) for number in range(LABS)]
    _write(folder / "labs.csv", ["sample", "test", "patient", "visit", "taken", "result", "unit"], labs, ",")


def _write(path: Path, header: list[str], rows: list[list[str]], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)


def _person(chance: random.Random, number: int) -> list[str]:
    born = datetime(1930, 1, 1) + timedelta(days=chance.randrange(33_000))  # noqa: DTZ001
    phone = f"030 {number:06d}" if chance.random() < 0.7 else "-"
    mail = f"p{number}@example.org" if chance.random() < 0.5 else ""
    return [
        str(number), chance.choice(FAMILIES), chance.choice(GIVEN), chance.choice("mfdx"), f"{born:%d.%m.%Y}",
        f"Street {number}\n2nd floor", chance.choice(("Berlin", "unknown")), phone, mail,
    ]  # fmt: skip


def _visit(chance: random.Random, number: int) -> list[str]:
    start = START + timedelta(days=number, minutes=chance.randrange(900))
    end = f"{start + timedelta(hours=chance.randrange(1, 90)):%d.%m.%Y %H:%M}" if chance.random() < 0.9 else ""
    return [f"V{number}", str(chance.randint(1, PEOPLE)), chance.choice(("in", "out")), f"{start:%d.%m.%Y %H:%M}", end]


def _lab(chance: random.Random, number: int, visits: list[list[str]]) -> list[str]:
    visit = chance.choice(visits)
    test = chance.choice(list(TESTS))
    unit, low, high = TESTS[test]
    result = chance.choice((f"{chance.uniform(low, high):.2f}".replace(".", ","), f"<{low}", f">={high}", ""))
    taken = START + timedelta(days=number % 300, seconds=number)
    return [f"2024/{number:05d}", test, visit[1], visit[0], taken.isoformat(), result, unit]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
