-- Devices, organisations, device codes and the guesses made at them.
-- Times are Unix milliseconds. No passcode is stored, only keyed digests; no token or key, only
-- SHA-256 of them.

CREATE TABLE organisations (
    org_id        INTEGER PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    key_digest    BLOB    NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
    seq           INTEGER PRIMARY KEY,
    device_id     TEXT    NOT NULL UNIQUE,
    name          TEXT    NOT NULL,
    device_key    TEXT    NOT NULL UNIQUE,
    token_digest  BLOB    NOT NULL,
    created_at_ms INTEGER NOT NULL,
    org_id        INTEGER REFERENCES organisations (org_id),
    revoked_at_ms INTEGER
) STRICT;

CREATE TABLE revocations (
    cursor    INTEGER PRIMARY KEY AUTOINCREMENT, -- followers remember it: never used twice
    device_id TEXT    NOT NULL REFERENCES devices (device_id)
) STRICT;

CREATE TABLE device_codes (
    seq             INTEGER PRIMARY KEY, -- of two ended codes the newer has the greater one
    challenge_id    BLOB    NOT NULL UNIQUE,
    device_id       TEXT    NOT NULL REFERENCES devices (device_id),
    digest          BLOB    NOT NULL,
    length          INTEGER NOT NULL,
    state           TEXT    NOT NULL CHECK (
        state IN ('issued', 'confirmed', 'superseded', 'expired', 'revoked', 'void')
    ),
    issued_at_ms    INTEGER NOT NULL,
    expires_at_ms   INTEGER NOT NULL,
    ended_at_ms     INTEGER,
    confirmed_route TEXT    CHECK (confirmed_route IN ('v1', 'v2', 'quick')),
    CHECK ((state = 'issued') = (ended_at_ms IS NULL)),
    CHECK ((state = 'confirmed') = (confirmed_route IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX device_codes_live_digest ON device_codes (digest) WHERE state = 'issued';
CREATE UNIQUE INDEX device_codes_live_device ON device_codes (device_id) WHERE state = 'issued';
CREATE INDEX device_codes_live_expiry ON device_codes (expires_at_ms, length)
WHERE state = 'issued';
CREATE INDEX device_codes_ended_digest ON device_codes (digest) WHERE ended_at_ms IS NOT NULL;
CREATE INDEX device_codes_ended_at ON device_codes (ended_at_ms) WHERE ended_at_ms IS NOT NULL;

CREATE TABLE guesses (
    seq         INTEGER PRIMARY KEY,
    guess_id    BLOB    NOT NULL UNIQUE,
    at_ms       INTEGER NOT NULL,
    address_key TEXT    NOT NULL,
    org_id      INTEGER
) STRICT;

CREATE INDEX guesses_at ON guesses (at_ms);

CREATE TABLE probes (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    writes INTEGER NOT NULL
) STRICT;

INSERT INTO probes (only, writes) VALUES (1, 0);
