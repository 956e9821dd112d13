"""Results as Markdown."""

from collections.abc import Iterable
from typing import Any

Cells = list[dict[str, Any]]


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    names = list(head)
    lines = ["| " + " | ".join(names) + " |", "|---|" + "--:|" * (len(names) - 1)]
    lines += ["| " + " | ".join(_shown(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return "" if value is None else str(value)


def memory(cell: dict[str, Any]) -> float:
    """MiB of all watched process trees (proportional set size)."""
    return float(sum((cell.get("pss_mib") or {}).values()))


def operations(cells: Cells, peer: Cells | None = None) -> str:
    """One row an operation and number of clients; with a peer, its figures and the ratios beside."""
    head = ["operation", "clients", "CPU ms/request", "requests/s", "p50 ms", "p95 ms", "MiB", "errors"]
    other = {(cell["op"], cell["clients"]): cell for cell in peer or []}
    if peer:
        head += ["peer CPU ms", "peer requests/s", "peer p95 ms", "peer MiB", "CPU: peer/ours", "requests/s: ours/peer"]
    rows = []
    for cell in cells:
        row = [cell["op"], cell["clients"], *figures(cell)]
        beside = other.get((cell["op"], cell["clients"]))
        if beside:
            row += [beside["cpu_ms_per_request"], beside["per_second"], beside["p95_ms"], memory(beside)]
            row += [
                _ratio(beside["cpu_ms_per_request"], cell["cpu_ms_per_request"]),
                _ratio(cell["per_second"], beside["per_second"]),
            ]
        rows.append(row)
    return table(head, rows)


def figures(cell: dict[str, Any]) -> list[object]:
    """CPU ms a request, requests/s, p50, p95, MiB, errors."""
    return [
        cell.get("cpu_ms_per_request", 0.0), cell["per_second"], cell["p50_ms"], cell["p95_ms"], memory(cell), cell["errors"],
    ]  # fmt: skip


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def sizes(by_size: dict[str, Cells]) -> str:
    """p50 and p95 of each operation at each size of the store, and the ratio of the largest to the smallest."""
    names = list(by_size)
    head = [
        "operation",
        "clients",
        *(f"{figure} at {name}" for name in names for figure in ("p50 ms", "p95 ms", "CPU ms")),
        "p50 ratio",
    ]
    rows = []
    for cells in zip(*by_size.values(), strict=True):
        row: list[object] = [cells[0]["op"], cells[0]["clients"]]
        for cell in cells:
            row += [cell["p50_ms"], cell["p95_ms"], cell.get("cpu_ms_per_request", 0.0)]
        rows.append([*row, _ratio(cells[-1]["p50_ms"], cells[0]["p50_ms"])])
    return table(head, rows)


def document(results: dict[str, Any]) -> str:
    """The whole report."""
    facts = results["machine"]
    parts = [
        f"# Benchmark, {facts['date']}, commit {facts['commit']}\n",
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {facts['system']}, Python {facts['python']}. One worker,"
        " every commit synced to disk, AuditEvents on, validation on, answers gzipped. How to read it: benchmarks/README.md.\n",
    ]
    if "operations" in results:
        parts += ["## Operations\n", operations(results["operations"], results.get("hapi"))]
    if "searches" in results:
        rows = [[cell["op"], cell.get("mean_entries"), *figures(cell)] for cell in results["searches"]]
        head = ["search (8 clients)", "entries", "CPU ms/request", "requests/s", "p50 ms", "p95 ms", "MiB", "errors"]
        parts += ["## Searches\n", table(head, rows)]
    if "bare" in results:
        rows = [[name, *figures(cell)] for name, cell in results["bare"].items() if name != "ratio"]
        parts += ["## A read beside a bare FastAPI route with the same bytes\n"]
        parts += [table(["", "CPU ms/request", "requests/s", "p50 ms", "p95 ms", "MiB", "errors"], rows)]
        parts += [f"CPU ratio: {results['bare']['ratio']:.2f}\n"]
    if "start" in results:
        parts += ["## Start\n", table(["", "seconds", "MiB"], results["start"])]
    if "connections" in results:
        rows = [[f"{cell['clients']} connections, read", *figures(cell)] for cell in results["connections"]]
        parts += ["## Many connections\n", table(["", "CPU ms/request", "requests/s", "p50 ms", "p95 ms", "MiB", "errors"], rows)]
    if "population" in results:
        parts += ["## Loading a population\n", table(["", ""], [[name, value] for name, value in results["population"].items()])]
    if "sizes" in results:
        parts += ["## Size of the store\n", sizes(results["sizes"])]
    return "\n".join(parts)
