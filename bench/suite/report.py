"""One self-contained HTML page with inline SVG: no script, no network. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log10
from typing import TYPE_CHECKING

from bench.suite.budgets import State
from bench.suite.figures import Quantity, middle, middle_curve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.suite.budgets import Verdict
    from bench.suite.figures import Curve, Record
    from bench.suite.instructions import Comparison

_WIDTH, _HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 32, 16, 40
_COLOURS = {
    "floor": "#8c8c8c",
    "native": "#c8102e",
    "reference": "#e8893a",
    "otp-native": "#7a0c1e",
    "otp-reference": "#a85a14",
    "trio-websocket": "#3569b2",
    "websockets-trio": "#5fa8d3",
    "picows": "#3a8a4d",
    "gorilla": "#7b4fa3",
    "rest": "#c8102e",
    "rest-hypercorn": "#e8893a",
    "quart-bare": "#3569b2",
    "hot": "#c8102e",
    "go-http": "#7b4fa3",
    "go-http-json": "#3a8a4d",
    "go-http-same": "#c49a00",
    "beside-devices-alone": "#8c8c8c",
    "beside-devices-attempt": "#c8102e",
    "beside-devices-handshake": "#3569b2",
    "beside-http-alone": "#8c8c8c",
    "beside-http-devices": "#c8102e",
}
_TOGETHER = {
    "64 devices at a constant rate, alone and beside HTTP": (
        "beside-devices-alone",
        "beside-devices-attempt",
        "beside-devices-handshake",
    ),
    "attempts over HTTP at a constant rate, alone and beside devices": (
        "beside-http-alone",
        "beside-http-devices",
    ),
}
_OVERLOAD = {
    "latency, µs": {
        "attempts, p50": "attempt_p50_us",
        "attempts, p99": "attempt_p99_us",
        "inits let in, p99": "init_p99_us",
        "inits refused, p99": "init_shed_p99_us",
        "after the fall, p99": "after_p99_us",
    },
    "part that was refused": {
        "attempts": "attempt_shed_share",
        "inits": "init_shed_share",
    },
    "until all is answered at once, s": {"after the fall": "recovered_s"},
}
"""Charts, their bars, and the measure of each."""
_OTHER_COLOUR = "#444444"
_TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
_BAR, _GAP, _LABEL = 20, 8, 170
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.2rem}h3{font-size:1rem;margin-bottom:.3rem}
table{border-collapse:collapse;font-size:14px;width:100%}
td,th{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;vertical-align:top}
td:first-child,th:first-child,td.text,th.text{text-align:left}
.held{color:#1c7a33}.missed{color:#b00020;font-weight:600}.none{color:#777}
svg{max-width:100%;height:auto;background:#fff}svg text{font:12px system-ui,sans-serif;fill:#333}
.legend span{display:inline-block;margin-right:1rem}.legend i{display:inline-block;width:.8rem;
height:.8rem;margin-right:.3rem;vertical-align:-1px}.note{color:#555}code{background:#f3f3f3}
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a page is made of."""

    title: str
    command: str
    machine: Mapping[str, object]
    records: Sequence[Record]
    verdicts: Sequence[Verdict] = ()
    instructions: Sequence[Comparison] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def page(contents: Contents) -> str:
    """The whole page."""
    records = contents.records
    parts = [
        f"<h1>{escape(contents.title)}</h1>",
        (
            f"<p>Made by <code>{escape(contents.command)}</code>. Only ratios within this run mean "
            "anything: the absolute figures are this machine's, at that minute.</p>"
        ),
        _machine(contents.machine),
        _budgets(contents.verdicts),
        _instructions(contents.instructions),
        "<h2>Throughput and CPU beside the peers</h2>",
        *_bars(records, "msg_per_s", "messages a second (more is better)"),
        *_bars(records, "cpu_us_per_msg", "CPU of the server a message, µs (less is better)"),
        *_bars(records, "handshakes_per_s", "handshakes a second (more is better)"),
        "<h2>Memory</h2>",
        *_bars(records, "pss_bytes_per_connection", "user-space bytes a connection held (PSS)"),
        "<h2>Latency</h2>",
        *_curves(records),
        *_beside(records),
        *_overload(records),
        "<h2>Every figure</h2>",
        _table(records),
        _reasons("Skipped", contents.skipped),
        _reasons("Failed", contents.failed),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(contents.title)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(part for part in parts if part)
        + "</body></html>\n"
    )


def number(value: float | None) -> str:
    """A figure for people: three significant digits."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = 2 - floor(log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def scenarios_of(records: Sequence[Record]) -> dict[str, list[str]]:
    """Scenarios in order, each with its servers in order."""
    found: dict[str, list[str]] = {}
    for record in records:
        servers = found.setdefault(record.scenario, [])
        if record.server not in servers:
            servers.append(record.server)
    return found


def _machine(machine: Mapping[str, object]) -> str:
    facts = ", ".join(f"{escape(key)} {escape(str(value))}" for key, value in machine.items())
    return f'<p class="note">{facts}</p>' if facts else ""


def _budgets(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    rows = []
    for verdict in verdicts:
        budget = verdict.budget
        style = {State.HELD: "held", State.MISSED: "missed"}.get(verdict.state, "none")
        rows.append(
            f'<tr><td title="{escape(budget.reason)}">{escape(budget.name)}</td>'
            f"<td>{number(verdict.value)}</td><td>{budget.sign} {number(budget.limit)}</td>"
            f"<td>{number(budget.aim)}</td><td>{verdict.passes}</td>"
            f'<td class="text {style}">{escape(verdict.state)}</td>'
            f'<td class="text">{escape(verdict.note)}</td></tr>'
        )
    return (
        "<h2>Budgets</h2><table><tr><th>what</th><th>found</th><th>limit</th><th>aim</th>"
        '<th>passes</th><th class="text">verdict</th><th class="text">note</th></tr>'
        + "".join(rows)
        + "</table>"
    )


def _instructions(compared: Sequence[Comparison]) -> str:
    if not compared:
        return ""
    rows = "".join(
        f"<tr><td>{escape(one.operation)}</td><td>{number(one.found)}</td>"
        f"<td>{number(one.committed)}</td>"
        f'<td class="text {"missed" if one.fails else "held"}">{escape(one.note)}</td></tr>'
        for one in compared
    )
    return (
        "<h2>Instructions of one operation</h2><table><tr><th>operation</th><th>found</th>"
        f'<th>committed</th><th class="text">change</th></tr>{rows}</table>'
    )


def _bars(records: Sequence[Record], measure: str, title: str) -> list[str]:
    parts = []
    for scenario, servers in scenarios_of(records).items():
        found = [(s, middle(records, Quantity(scenario, s, measure))) for s in servers]
        bars = [(server, value) for server, value in found if value is not None]
        if len(bars) > 1 or (bars and measure.startswith("pss")):
            parts.append(f"<h3>{escape(scenario)}: {escape(title)}</h3>" + _bar_chart(bars))
    return parts


def _bar_chart(bars: Sequence[tuple[str, float]]) -> str:
    most = max((value for _, value in bars), default=0.0) or 1.0
    room = _WIDTH - _LABEL - 90
    rows = []
    for n, (server, value) in enumerate(bars):
        y = n * (_BAR + _GAP)
        length = max(1.0, room * max(value, 0.0) / most)
        rows.append(
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(server)}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{length:.1f}" height="{_BAR}" '
            f'fill="{_colour(server)}"/>'
            f'<text x="{_LABEL + length + 6:.1f}" y="{y + 15}">{number(value)}</text>'
        )
    height = len(bars) * (_BAR + _GAP)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(rows)}</svg>'


def _curves(records: Sequence[Record]) -> list[str]:
    parts = []
    for scenario, servers in scenarios_of(records).items():
        curves = {server: middle_curve(records, scenario, server) for server in servers}
        curves = {server: curve for server, curve in curves.items() if curve}
        if curves:
            parts.append(
                f"<h3>{escape(scenario)}: latency by percentile, µs</h3>"
                + _curve_chart(curves)
                + _legend(curves)
            )
    return parts


def _beside(records: Sequence[Record]) -> list[str]:
    """What belongs together of several scenarios, a chart for each server."""
    parts = []
    for title, scenarios in _TOGETHER.items():
        servers = dict.fromkeys(r.server for r in records if r.scenario in scenarios)
        for server in servers:
            found = {each: middle_curve(records, each, server) for each in scenarios}
            curves = {each: curve for each, curve in found.items() if curve}
            if len(curves) > 1:
                parts.append(
                    f"<h3>{escape(server)}, {escape(title)}: latency by percentile, µs</h3>"
                    + _curve_chart(curves)
                    + _legend(curves)
                )
    return ["<h2>One face beside the other</h2>", *parts] if parts else []


def _overload(records: Sequence[Record]) -> list[str]:
    parts = []
    for server in dict.fromkeys(r.server for r in records if r.scenario == "overload"):
        for title, measures in _OVERLOAD.items():
            found = {
                label: middle(records, Quantity("overload", server, measure))
                for label, measure in measures.items()
            }
            bars = [(label, value) for label, value in found.items() if value is not None]
            if bars:
                parts.append(f"<h3>{escape(server)}: {escape(title)}</h3>" + _bar_chart(bars))
    return ["<h2>Overload</h2>", *parts] if parts else []


def _curve_chart(curves: Mapping[str, Curve]) -> str:
    values = [max(value, 1.0) for curve in curves.values() for _, value in curve]
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    high = max(high, low + 1)

    def x(percentile: float) -> float:
        nines = min(-log10(max(1 - percentile / 100, 1e-5)), 5.0)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * nines / 5.0

    def y(value: float) -> float:
        part = (log10(max(value, 1.0)) - low) / (high - low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part

    parts = [
        f'<line x1="{x(tick):.1f}" y1="{_TOP}" x2="{x(tick):.1f}" y2="{_HEIGHT - _BOTTOM}" '
        f'stroke="#e5e5e5"/><text x="{x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 18}" '
        f'text-anchor="middle">{tick:g}</text>'
        for tick in _TICKS
    ]
    parts += [
        f'<line x1="{_LEFT}" y1="{y(10.0**power):.1f}" x2="{_WIDTH - _RIGHT}" '
        f'y2="{y(10.0**power):.1f}" stroke="#e5e5e5"/>'
        f'<text x="{_LEFT - 6}" y="{y(10.0**power) + 4:.1f}" text-anchor="end">{10**power:,}</text>'
        for power in range(low, high + 1)
    ]
    for server, curve in curves.items():
        points = " ".join(f"{x(percentile):.1f},{y(value):.1f}" for percentile, value in curve)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{_colour(server)}" '
            f'stroke-width="2"><title>{escape(server)}</title></polyline>'
        )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


def _legend(servers: Mapping[str, Curve]) -> str:
    spans = "".join(
        f'<span><i style="background:{_colour(server)}"></i>{escape(server)}</span>'
        for server in servers
    )
    return f'<p class="legend">{spans}</p>'


def _table(records: Sequence[Record]) -> str:
    rows = []
    for scenario, servers in scenarios_of(records).items():
        for server in servers:
            own = [r for r in records if (r.scenario, r.server) == (scenario, server)]
            names = sorted({name for record in own for name in record.measures})
            figures = ", ".join(
                f"{escape(name)} {number(middle(records, Quantity(scenario, server, name)))}"
                for name in names
            )
            disturbed = sum(record.disturbed for record in own)
            rows.append(
                f'<tr><td>{escape(scenario)}</td><td class="text">{escape(server)}</td>'
                f"<td>{len(own)}</td><td>{disturbed}</td>"
                f'<td class="text">{figures}</td></tr>'
            )
    return (
        '<table><tr><th>scenario</th><th class="text">server</th><th>passes</th>'
        '<th>disturbed</th><th class="text">medians</th></tr>' + "".join(rows) + "</table>"
    )


def _reasons(title: str, reasons: Mapping[str, str]) -> str:
    if not reasons:
        return ""
    items = "".join(f"<li>{escape(what)}: {escape(why)}</li>" for what, why in reasons.items())
    return f"<h2>{escape(title)}</h2><ul>{items}</ul>"


def _colour(server: str) -> str:
    return _COLOURS.get(server, _OTHER_COLOUR)
