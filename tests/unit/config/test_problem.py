from otp_server.config.problem import InvalidConfigError, Problem, did_you_mean
from otp_server.errors import ConfigError


def test_a_problem_names_path_origin_reason_and_mend() -> None:
    assert (
        str(Problem("a.b", "x.toml", "it is bad", "do this")) == "a.b (x.toml): it is bad; do this"
    )
    assert str(Problem("", "x.toml", "it is bad", "do this")) == "x.toml: it is bad; do this"
    assert str(Problem("a.b", "", "it is bad", "do this")) == "a.b: it is bad; do this"


def test_the_error_lists_all_and_keeps_each() -> None:
    problems = [Problem("a", "", "one", "x"), Problem("b", "", "two", "y")]
    error = InvalidConfigError(iter(problems))
    assert isinstance(error, ConfigError)
    assert error.problems == tuple(problems)
    assert str(error) == "the configuration has 2 problems:\n  - a: one; x\n  - b: two; y"
    assert str(InvalidConfigError(problems[:1])).startswith("the configuration has 1 problem:")


def test_suggests_only_what_is_close() -> None:
    assert did_you_mean("lenght", ["length", "path"], "no") == "did you mean length?"
    assert did_you_mean("zebra", ["length", "path"], "no") == "no"
