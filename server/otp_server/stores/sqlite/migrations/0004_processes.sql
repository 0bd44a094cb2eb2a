-- OTP processes, their attempts, messages on their way, idempotency claims, the audit trail.
-- Times are Unix milliseconds. No code is stored in any form: it is derived from the process. A
-- contact is stored sealed, with a keyed index to find and count it by, and nowhere in clear.

-- Append-only: who wants to change a line must first drop a trigger, and still breaks the chain.
CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    tenant  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    address TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    outcome TEXT    NOT NULL,
    hash    BLOB    NOT NULL -- over the hash of the row before and the columns above but seq
) STRICT;

CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;

CREATE TRIGGER audit_never_forgets BEFORE DELETE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;

CREATE TRIGGER audit_never_replaces BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;

-- What processes were started with: each plan once, however many processes keep it.
CREATE TABLE plans (
    id     INTEGER PRIMARY KEY,
    digest BLOB    NOT NULL UNIQUE, -- SHA-256 of body
    body   BLOB    NOT NULL         -- JSON
) STRICT;

CREATE TABLE processes (
    id             INTEGER PRIMARY KEY AUTOINCREMENT, -- callers know it: never used twice
    uuid           BLOB    NOT NULL UNIQUE,
    tenant         TEXT    NOT NULL,
    type_id        INTEGER NOT NULL,
    plan_id        INTEGER NOT NULL REFERENCES plans (id),
    status         TEXT    NOT NULL CHECK (
        status IN ('new', 'sent', 'accepted', 'failed', 'expired')
    ),
    failure        TEXT    CHECK (failure IN ('exhausted', 'superseded', 'undeliverable')),
    attempts       INTEGER NOT NULL CHECK (attempts >= 0),
    generation     INTEGER NOT NULL,
    route          INTEGER NOT NULL, -- a position in the plan
    route_status   TEXT    NOT NULL CHECK (
        route_status IN ('new', 'sent', 'uncertain', 'failed', 'exhausted')
    ),
    route_attempts INTEGER NOT NULL CHECK (route_attempts >= 0),
    key_id         TEXT    NOT NULL,
    created_at_ms  INTEGER NOT NULL,
    updated_at_ms  INTEGER NOT NULL,
    expires_at_ms  INTEGER NOT NULL,
    phone_index    BLOB,
    phone_sealed   BLOB,
    phone_counted  INTEGER NOT NULL, -- whether the limits were charged for it
    email_index    BLOB,
    email_sealed   BLOB,
    email_counted  INTEGER NOT NULL,
    address        TEXT,
    entities       TEXT    NOT NULL, -- JSON: pairs of type and id, in the caller's order
    CHECK ((status = 'failed') = (failure IS NOT NULL)),
    CHECK ((phone_index IS NULL) = (phone_sealed IS NULL)),
    CHECK ((email_index IS NULL) = (email_sealed IS NULL)),
    CHECK (phone_index IS NOT NULL OR email_index IS NOT NULL)
) STRICT;

CREATE INDEX processes_type ON processes (tenant, type_id);
CREATE INDEX processes_phone ON processes (phone_index, type_id) WHERE phone_index IS NOT NULL;
CREATE INDEX processes_email ON processes (email_index, type_id) WHERE email_index IS NOT NULL;
-- The processes that the next start of a contact ends: one for each contact counted in the limits.
CREATE INDEX processes_phone_open ON processes (phone_index, type_id)
WHERE phone_counted = 1 AND status IN ('new', 'sent');
CREATE INDEX processes_email_open ON processes (email_index, type_id)
WHERE email_counted = 1 AND status IN ('new', 'sent');
CREATE INDEX processes_open_end ON processes (expires_at_ms) WHERE status IN ('new', 'sent');
CREATE INDEX processes_created ON processes (created_at_ms);
CREATE INDEX processes_plan ON processes (plan_id);

-- An index of processes by what they belong to; what is shown is in the process.
CREATE TABLE process_entities (
    entity_type TEXT    NOT NULL,
    entity_id   TEXT    NOT NULL,
    type_id     INTEGER NOT NULL,
    process_id  INTEGER NOT NULL,
    PRIMARY KEY (entity_type, entity_id, type_id, process_id)
) STRICT, WITHOUT ROWID;

-- Attempts counted and not settled yet: those of this moment, and those a crash left behind.
CREATE TABLE open_attempts (
    process_id INTEGER NOT NULL REFERENCES processes (id),
    attempt    INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (process_id, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX open_attempts_at ON open_attempts (at_ms);

CREATE TABLE contact_failures (
    tenant        TEXT    NOT NULL,
    contact_index BLOB    NOT NULL,
    failures      INTEGER NOT NULL,
    last_at_ms    INTEGER NOT NULL,
    PRIMARY KEY (contact_index, tenant)
) STRICT, WITHOUT ROWID;

CREATE INDEX contact_failures_age ON contact_failures (last_at_ms) WHERE failures < 50;

-- What keys the rows above were made under: a fingerprint for each use that must not change unseen.
CREATE TABLE key_marks (
    purpose     TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    id             INTEGER PRIMARY KEY AUTOINCREMENT, -- providers know it: never used twice
    process_id     INTEGER NOT NULL REFERENCES processes (id),
    tenant         TEXT    NOT NULL, -- the process's: tenants take turns
    generation     INTEGER NOT NULL,
    route          INTEGER NOT NULL,
    channel        TEXT    NOT NULL CHECK (channel IN ('sms', 'email')),
    leaves         INTEGER NOT NULL, -- whether its process has a later route over another channel
    state          TEXT    NOT NULL CHECK (
        state IN ('queued', 'leased', 'sent', 'failed', 'uncertain', 'void')
    ),
    tries          INTEGER NOT NULL,
    due_at_ms      INTEGER NOT NULL,
    updated_at_ms  INTEGER NOT NULL,
    lease          BLOB,
    lease_until_ms INTEGER,
    provider       TEXT,
    problem        TEXT,
    reference      TEXT,
    CHECK ((state = 'leased') = (lease IS NOT NULL)),
    CHECK ((lease IS NULL) = (lease_until_ms IS NULL))
) STRICT;

CREATE INDEX messages_process ON messages (process_id);
CREATE INDEX messages_queued ON messages (channel, tenant, due_at_ms) WHERE state = 'queued';
CREATE INDEX messages_leaving ON messages (channel, due_at_ms)
WHERE leaves = 1 AND state = 'queued';
CREATE INDEX messages_leased ON messages (channel, lease_until_ms) WHERE state = 'leased';

CREATE TABLE idempotency_claims (
    tenant        TEXT    NOT NULL,
    client_id     TEXT    NOT NULL,
    operation     TEXT    NOT NULL,
    key           TEXT    NOT NULL,
    fingerprint   BLOB    NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    uuid          BLOB    NOT NULL, -- of the process started or attempted
    route         INTEGER NOT NULL, -- of a start: the position its answer named
    generation    INTEGER NOT NULL, -- of an attempt, and so on; 0 for a start
    attempt       INTEGER NOT NULL,
    counted_at_ms INTEGER NOT NULL,
    accepted      INTEGER,          -- its answer; NULL while there is none
    PRIMARY KEY (tenant, client_id, operation, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_claims_end ON idempotency_claims (expires_at_ms);
