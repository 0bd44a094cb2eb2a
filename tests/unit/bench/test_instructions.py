from bench.suite.instructions import Baseline, compare

BASE = Baseline("rustc 1.95.0, glibc 2.36, valgrind-3.19.0", {"digest": 1000.0, "mask": 100.0})


def fails(counts: dict[str, float], made_with: str = BASE.made_with) -> dict[str, bool]:
    return {one.operation: one.fails for one in compare(BASE, made_with, counts)}


def test_two_percent_are_forgiven_in_both_directions() -> None:
    assert fails({"digest": 1020.0, "mask": 98.0}) == {"digest": False, "mask": False}
    assert fails({"digest": 1021.0, "mask": 97.0}) == {"digest": True, "mask": True}


def test_a_failure_says_how_to_regenerate() -> None:
    [first, _] = compare(BASE, BASE.made_with, {"digest": 2000.0, "mask": 100.0})
    assert "make bench-baseline" in first.note
    assert "+100.0%" in first.note


def test_another_toolchain_is_told_but_not_failed() -> None:
    compared = compare(
        BASE, "rustc 1.96.0, glibc 2.36, valgrind-3.19.0", {"digest": 2000.0, "mask": 100.0}
    )
    assert not any(one.fails for one in compared)
    assert "not binding" in compared[0].note


def test_operations_that_come_and_go_need_a_new_baseline() -> None:
    assert fails({"digest": 1000.0, "new": 5.0}) == {"digest": False, "mask": True, "new": True}


def test_without_a_baseline_nothing_binds() -> None:
    assert not any(one.fails for one in compare(None, BASE.made_with, {"digest": 1.0}))
