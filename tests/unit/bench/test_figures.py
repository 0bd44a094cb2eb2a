from bench.suite.figures import (
    Quantity,
    Record,
    best,
    clean,
    middle,
    middle_curve,
    percentile_curve,
    ratios,
    values,
)

OF = Quantity("rr", "native", "msg_per_s")
TO = Quantity("rr", "floor", "msg_per_s")


def record(server: str, number: int, value: float, *, disturbed: bool = False) -> Record:
    return Record("rr", server, number, {"msg_per_s": value}, disturbed)


def test_disturbed_rounds_count_only_where_there_is_no_other() -> None:
    calm, noisy = record("a", 1, 10.0), record("a", 2, 1.0, disturbed=True)
    assert clean([calm, noisy], "rr", "a") == [calm]
    assert clean([noisy], "rr", "a") == [noisy]


def test_the_median_of_what_was_measured_and_none_of_nothing() -> None:
    records = [record("floor", n, value) for n, value in enumerate([5.0, 1.0, 3.0])]
    assert middle(records, TO) == 3.0
    assert middle(records, OF) is None
    assert values(records, Quantity("rr", "floor", "p99_us")) == {}


def test_a_ratio_is_taken_within_one_pass_only() -> None:
    records = [
        record("native", 1, 90.0),
        record("floor", 1, 100.0),
        record("native", 2, 45.0),  # half the machine was away in this pass, for both
        record("floor", 2, 50.0),
        record("native", 3, 1000.0),  # the floor has no third pass
    ]
    assert ratios(records, OF, TO) == [0.9, 0.9]


def test_ratios_of_undisturbed_passes_come_first() -> None:
    records = [
        record("native", 1, 10.0, disturbed=True),
        record("floor", 1, 100.0, disturbed=True),
        record("native", 2, 90.0),
        record("floor", 2, 100.0),
    ]
    assert ratios(records, OF, TO) == [0.9]
    assert ratios(records[:2], OF, TO) == [0.1]
    assert ratios(records, OF, TO, every=True) == [0.1, 0.9]


def test_a_ratio_to_nothing_is_none() -> None:
    assert ratios([record("native", 1, 1.0), record("floor", 1, 0.0)], OF, TO) == []


def test_the_best_is_nearest_to_the_budget() -> None:
    assert best([1.0, 3.0, 2.0], at_least=True) == 3.0
    assert best([1.0, 3.0, 2.0], at_least=False) == 1.0


def test_a_histogram_becomes_percentiles() -> None:
    histogram = [[10.0, 5], [20.0, 9], [25.0, 9], [30.0, 10]]
    assert percentile_curve(histogram) == [(50.0, 10.0), (90.0, 25.0), (100.0, 30.0)]
    assert percentile_curve([]) == []
    assert percentile_curve([[10.0, 0]]) == []


def test_the_curve_shown_is_one_that_was_measured() -> None:
    records = [
        Record("rr", "a", n, {"p99_us": p99}, curve=[(100.0, p99)])
        for n, p99 in enumerate([30.0, 10.0, 20.0])
    ]
    assert middle_curve(records, "rr", "a") == [(100.0, 20.0)]
    assert middle_curve([], "rr", "a") == []
