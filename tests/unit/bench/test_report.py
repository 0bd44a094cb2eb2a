from html.parser import HTMLParser

import pytest

from bench.suite.budgets import judge, parse
from bench.suite.figures import Record
from bench.suite.instructions import Comparison
from bench.suite.report import Contents, number, page, scenarios_of

VOID = {"meta", "rect", "line"}


class Balance(HTMLParser):
    """Fails where tags do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, value in attrs:
            assert name not in {"src", "href"}, f"{tag} loads {value}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def contents() -> Contents:
    records = [
        Record(
            "rr-64",
            server,
            number,
            {"msg_per_s": rate, "cpu_us_per_msg": 1e6 / rate, "p99_us": 900.0},
            disturbed=number == 2,
            curve=[(50.0, 100.0), (99.0, 900.0), (100.0, 4000.0)],
        )
        for number in (1, 2)
        for server, rate in (("floor", 100_000.0), ("<native>", 90_000.0))
    ]
    records.append(Record("idle", "floor", 1, {"pss_bytes_per_connection": 0.0}))
    budget = parse(
        {
            "name": "a <budget>",
            "scenario": "rr-64",
            "server": "<native>",
            "against": "floor",
            "measure": "msg_per_s",
            "at_least": 0.95,
            "reason": 'because of "that"',
        }
    )
    return Contents(
        title="a & b",
        command="make bench",
        machine={"processors": 2},
        records=records,
        verdicts=judge([budget], records, take_best=False),
        instructions=[Comparison("digest", 11.0, 10.0, fails=True, note="+10.0%")],
        skipped={"gorilla": "Go is not installed"},
        failed={"rr-1": "<reset>"},
    )


def test_the_page_is_whole_and_loads_nothing() -> None:
    html = page(contents())
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert not parser.open
    assert {"svg", "polyline", "rect", "table"} <= parser.seen
    assert "script" not in parser.seen
    assert "http" not in html


def test_what_was_measured_is_on_the_page() -> None:
    html = page(contents())
    for word in ("MISSED", "90,000", "Go is not installed", "+10.0%", "make bench"):
        assert word in html
    for raw in ("<native>", "a <budget>", "<reset>"):
        assert raw not in html
    assert "&lt;native&gt;" in html


def test_what_one_face_does_to_the_other_is_on_one_chart() -> None:
    scenarios = ("beside-devices-alone", "beside-devices-attempt", "beside-http-alone")
    curve = [(50.0, 100.0), (100.0, 400.0)]
    records = [Record(each, "rest", 1, {"p99_us": 4.0}, curve=curve) for each in scenarios]
    _, html = page(Contents("t", "c", {}, records)).split("One face beside the other")
    chart, _ = html.split("Every figure")
    assert chart.count("<svg") == 1  # the other face was not measured beside anything
    assert chart.count("<polyline") == 2
    assert "beside-devices-attempt" in chart


def test_an_overload_has_its_bars() -> None:
    measures = {"attempt_p99_us": 250_000.0, "init_shed_share": 0.9, "recovered_s": 0.3}
    html = page(Contents("t", "c", {}, [Record("overload", "rest", 1, measures)]))
    assert html.count("<svg") == 3
    for word in ("attempts, p99", "250,000", "inits</text>", "0.900", "0.300"):
        assert word in html
    assert "Overload" not in page(contents())


def test_an_empty_run_is_a_page_too() -> None:
    assert page(Contents("t", "c", {}, [])).endswith("</body></html>\n")


def test_scenarios_keep_their_order() -> None:
    assert scenarios_of(contents().records) == {"rr-64": ["floor", "<native>"], "idle": ["floor"]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (1.2345, "1.23"),
        (12.345, "12.3"),
        (0.04567, "0.0457"),
        (117_345.0, "117,000"),
        (-3.21, "-3.21"),
    ],
)
def test_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text
