import pytest

from otp_server.config.endpoint import Endpoint


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8700", "127.0.0.1", 8700, True),
        ("127.9.9.9:0", "127.9.9.9", 0, True),
        ("[::1]:8700", "::1", 8700, True),
        ("[0:0:0:0:0:0:0:1]:1", "::1", 1, True),
        ("[::ffff:127.0.0.1]:1", "::ffff:7f00:1", 1, True),
        ("[::ffff:10.0.0.1]:1", "::ffff:a00:1", 1, False),
        ("localhost:65535", "localhost", 65535, True),
        ("0.0.0.0:1", "0.0.0.0", 1, False),  # noqa: S104 - an example of what others reach
        ("[::]:1", "::", 1, False),
        ("10.0.0.1:1", "10.0.0.1", 1, False),
        ("localhost.example:1", "localhost.example", 1, False),
    ],
)
def test_reads_and_writes(text: str, host: str, port: int, loopback: bool) -> None:
    endpoint = Endpoint.parse(text)
    assert (endpoint.host, endpoint.port, endpoint.is_loopback) == (host, port, loopback)
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no port"),
        ("localhost", "has no port"),
        ("localhost:", "has no port"),
        (":8700", "has no host"),
        ("*:8700", "has no host"),
        ("-a:1", "has no host"),
        ("a b:1", "has no host"),
        ("localhost:65536", "a port that is not a number from 0 to 65535"),
        ("localhost:-1", "a port that is not"),
        ("localhost:\u0661", "a port that is not"),
        ("localhost:http", "a port that is not"),
        ("localhost:1\n", "a port that is not"),
        ("::1:8700", "an IPv6 address without brackets"),
        ("[::x]:1", "no IPv6 address in its brackets"),
        ("[127.0.0.1]:1", "no IPv6 address in its brackets"),
        ("127.0.0.256:1", "no valid IPv4 address"),
        ("127.1:1", "no valid IPv4 address"),
        (8700, "expected a string, got int"),
    ],
)
def test_refuses(text: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Endpoint.parse(text)
