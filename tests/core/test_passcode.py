"""Passcodes as Python sees them: uniform, derivable, comparable, and silent."""

from __future__ import annotations

import copy
import hashlib
import hmac
import itertools
import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_server.core import Keyring, Passcode, verify_digest

DIGITS = "0123456789"
LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALPHABETS = {
    "numeric": DIGITS,
    "alphanumeric": DIGITS + LATIN,
    "alphabetic": LATIN,
    "unambiguous": "BCDFGHJKLMNPQRSTVWXZ",
}
KEYS = [("new", bytes([2]) * 32), ("old", bytes([1]) * 40)]
RING = Keyring(KEYS)


def prefixed(*values: bytes) -> bytes:
    return b"".join(len(value).to_bytes(8, "big") + value for value in values)


def digest(key: bytes, domain: str, tenant: str, challenge: bytes, code: str) -> bytes:
    """The stored form, worked out with another HMAC."""
    row = prefixed(domain.encode(), tenant.encode(), challenge, code.encode())
    return hmac.digest(key, b"otp-server/passcode/digest/v1" + row, "sha256")


def derived(key: bytes, scope: tuple[str, str, bytes], generation: int, symbols: str) -> str:
    """The first 32 symbols of a derivation, worked out with another HMAC."""
    domain, tenant, challenge = scope
    row = prefixed(domain.encode(), tenant.encode(), challenge) + generation.to_bytes(8, "big")
    mask = (1 << (len(symbols) - 1).bit_length()) - 1
    picked = (
        byte & mask
        for block in itertools.count()
        for byte in hmac.digest(
            key, b"otp-server/passcode/derive/v1" + row + block.to_bytes(8, "big"), "sha256"
        )
    )
    accepted = (symbols[value] for value in picked if value < len(symbols))
    return "".join(itertools.islice(accepted, 32))


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_drawn_codes_are_uniform(alphabet: str) -> None:
    symbols = ALPHABETS[alphabet]
    drawn = RING.draw("device", "", alphabet, 6, 20_000)
    texts = [passcode.reveal() for passcode, _ in drawn]
    for position in range(6):
        counts = Counter(text[position] for text in texts)
        assert set(counts) == set(symbols)
        expected = len(texts) / len(symbols)
        statistic = sum((counts[symbol] - expected) ** 2 / expected for symbol in symbols)
        # The mean is below 36 and the deviation below 9: one false alarm in very many years.
        assert statistic < 150


def test_drawn_codes_come_with_their_digests_current_first() -> None:
    for passcode, digests in RING.draw("device", "tenant", "numeric", 6, 5):
        code = passcode.reveal()
        assert digests == [digest(key, "device", "tenant", b"", code) for _, key in KEYS]
        assert digests == RING.digests("device", "tenant", b"", passcode)


def test_no_codes_are_drawn_when_none_are_asked_for() -> None:
    assert RING.draw("device", "", "numeric", 6, 0) == []


@given(
    st.text(max_size=10),
    st.text(max_size=10),
    st.binary(max_size=20),
    st.integers(0, 2**64 - 1),
    st.sampled_from(sorted(ALPHABETS)),
    st.integers(1, 32),
)
def test_derivation_is_what_the_page_says(
    domain: str, tenant: str, challenge: bytes, generation: int, alphabet: str, length: int
) -> None:
    for key_id, key in KEYS:
        passcode = RING.derive(
            key_id,
            domain=domain,
            tenant=tenant,
            challenge=challenge,
            generation=generation,
            alphabet=alphabet,
            length=length,
        )
        scope = (domain, tenant, challenge)
        assert passcode.reveal() == derived(key, scope, generation, ALPHABETS[alphabet])[:length]


def test_derivation_is_golden() -> None:
    passcode = RING.derive(
        "new",
        domain="rest",
        tenant="tenant",
        challenge=b"challenge",
        generation=0,
        alphabet="numeric",
        length=6,
    )
    assert passcode.reveal() == "474142"


@given(st.text(max_size=10), st.text(max_size=10), st.binary(max_size=20))
def test_digests_are_what_the_page_says(domain: str, tenant: str, challenge: bytes) -> None:
    passcode = Passcode.from_text("012345", "numeric")
    expected = [digest(key, domain, tenant, challenge, "012345") for _, key in KEYS]
    assert RING.digests(domain, tenant, challenge, passcode) == expected


def test_rotation_keeps_old_codes_and_changes_the_order() -> None:
    before, after = Keyring(KEYS[1:]), RING
    ((passcode, (stored,)),) = before.draw("device", "", "numeric", 6, 1)
    assert after.key_ids == ["new", "old"]
    assert after.digests("device", "", b"", passcode)[1] == stored
    assert verify_digest(stored, after.digests("device", "", b"", passcode))


def test_only_the_same_digest_verifies() -> None:
    one, two, other = (hashlib.sha256(bytes([at])).digest() for at in range(3))
    assert verify_digest(two, [one, two])
    assert verify_digest(one, (one, two))
    assert not verify_digest(other, [one, two])
    assert not verify_digest(one, [])
    assert not verify_digest(one[:-1], [one])
    assert not verify_digest(one, [one[:-1]])
    assert not verify_digest(b"", [b""])


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_alphabets_take_their_own_symbols_and_no_others(alphabet: str) -> None:
    symbols = ALPHABETS[alphabet]
    for character in map(chr, range(0x180)):
        if character in symbols:
            assert Passcode.from_text(character, alphabet).reveal() == character
        else:
            with pytest.raises(ValueError, match=r"outside its alphabet|1 to 32 characters"):
                Passcode.from_text(character, alphabet)


@pytest.mark.parametrize(
    "text", ["", "1" * 33, "12345x", "\uff11\uff12\uff13", "123\ud800", "123\n"]
)
def test_what_was_typed_is_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a passcode has ") as refusal:
        Passcode.from_text(text, "numeric")
    assert type(refusal.value) is ValueError, "UnicodeEncodeError would carry the text"
    assert not text or text not in str(refusal.value)
    assert refusal.value.__cause__ is refusal.value.__context__ is None


@pytest.mark.parametrize("alphabet", ["", "Numeric", "digits"])
def test_unknown_alphabets_are_refused(alphabet: str) -> None:
    with pytest.raises(ValueError, match="alphabet"):
        Passcode.from_text("123456", alphabet)
    with pytest.raises(ValueError, match="alphabet"):
        RING.draw("device", "", alphabet, 6, 1)


@pytest.mark.parametrize("length", [-1, 0, 33, 2**70])
def test_lengths_are_bounded(length: int) -> None:
    with pytest.raises(ValueError, match="1 to 32"):
        RING.draw("device", "", "numeric", length, 1)


def test_an_unknown_key_derives_nothing() -> None:
    with pytest.raises(KeyError, match="none"):
        RING.derive(
            "none",
            domain="",
            tenant="",
            challenge=b"",
            generation=0,
            alphabet="numeric",
            length=6,
        )


def test_a_passcode_shows_nothing() -> None:
    passcode = Passcode.from_text("135790", "numeric")
    shown = [repr(passcode), str(passcode), f"{passcode}", f"{passcode!r}", "%s" % passcode]  # noqa: UP031
    assert shown == ["<Passcode>"] * 5
    assert len(passcode) == 6
    assert not [name for name in dir(passcode) if "135790" in repr(getattr(passcode, name))]


def test_a_passcode_cannot_be_changed_or_compared() -> None:
    one, same = (Passcode.from_text("135790", "numeric") for _ in range(2))
    assert one != same, "equality would be a comparison in variable time"
    with pytest.raises(AttributeError):
        one.text = "1"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        assert one < same  # type: ignore[operator]


@given(
    st.text(DIGITS, min_size=1, max_size=32),
    st.text(DIGITS, min_size=1, max_size=32),
)
def test_a_code_matches_the_same_code_only(one: str, other: str) -> None:
    code = Passcode.from_text(one, "numeric")
    assert code.matches(Passcode.from_text(one, "numeric"))
    assert code.matches(Passcode.from_text(other, "numeric")) is (one == other)
    assert not code.matches(Passcode.from_text(one, "alphanumeric"))


def test_a_derived_code_matches_what_its_owner_typed() -> None:
    def derived(generation: int) -> Passcode:
        return RING.derive(
            "new",
            domain="rest",
            tenant="tenant",
            challenge=b"challenge",
            generation=generation,
            alphabet="unambiguous",
            length=8,
        )

    assert derived(0).matches(Passcode.from_text(derived(0).reveal(), "unambiguous"))
    assert not derived(0).matches(derived(1))
    with pytest.raises(TypeError):
        derived(0).matches(derived(0).reveal())  # type: ignore[arg-type]


@pytest.mark.parametrize("thing", [Passcode.from_text("135790", "numeric"), RING], ids=repr)
def test_secrets_are_not_pickled_or_copied(thing: object) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing, protocol)
    for duplicate in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            duplicate(thing)


def test_a_keyring_shows_ids_only() -> None:
    assert repr(RING) == str(RING) == '<Keyring["new", "old"]>'


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([], "at least one key"),
        ([("a", bytes(31))], "32 bytes"),
        ([("", bytes(32))], "1 to 64"),
        ([("x" * 65, bytes(32))], "1 to 64"),
        ([("a", bytes(32)), ("a", bytes(range(32)))], "twice"),
    ],
)
def test_keyrings_are_checked(keys: list[tuple[str, bytes]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Keyring(keys)


def test_key_ids_are_counted_in_characters() -> None:
    assert Keyring([("é" * 64, bytes(32))]).key_ids == ["é" * 64]
