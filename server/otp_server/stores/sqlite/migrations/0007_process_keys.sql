-- What processes are found by, the uuid and the contacts' indexes, is random: in a tree of its own,
-- where keys are filed many at once (process_keys.py). Before, each start wrote a page at random for
-- its uuid and another for its contact. So the table is made anew without those indexes.
--
-- And a CHECK with IN and more than two words costs over a microsecond a row: SQLite makes a table
-- of them for each row that is written. One with OR costs next to nothing.

CREATE TABLE process_keys (
    key        BLOB    NOT NULL, -- 16 bytes: a uuid, or the beginning of a contact's index
    process_id INTEGER NOT NULL,
    PRIMARY KEY (key, process_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE process_filing (
    only  INTEGER PRIMARY KEY CHECK (only = 1),
    filed INTEGER NOT NULL -- the keys of processes up to this id are in process_keys
) STRICT;

INSERT INTO process_keys (key, process_id)
SELECT uuid, id FROM processes
UNION SELECT substr(phone_index, 1, 16), id FROM processes WHERE phone_index IS NOT NULL
UNION SELECT substr(email_index, 1, 16), id FROM processes WHERE email_index IS NOT NULL
ORDER BY 1, 2;
INSERT INTO process_filing (only, filed) SELECT 1, coalesce(max(id), 0) FROM processes;

CREATE TABLE processes_7 (
    id             INTEGER PRIMARY KEY AUTOINCREMENT, -- callers know it: never used twice
    uuid           BLOB    NOT NULL, -- of one process: 128 random bits
    tenant         TEXT    NOT NULL,
    type_id        INTEGER NOT NULL,
    plan_id        INTEGER NOT NULL REFERENCES plans (id),
    status         TEXT    NOT NULL CHECK (
        status = 'new' OR status = 'sent' OR status = 'accepted' OR status = 'failed'
        OR status = 'expired'
    ),
    failure        TEXT    CHECK (
        failure = 'exhausted' OR failure = 'superseded' OR failure = 'undeliverable'
    ),
    attempts       INTEGER NOT NULL CHECK (attempts >= 0),
    generation     INTEGER NOT NULL,
    route          INTEGER NOT NULL, -- a position in the plan
    route_status   TEXT    NOT NULL CHECK (
        route_status = 'new' OR route_status = 'sent' OR route_status = 'uncertain'
        OR route_status = 'failed' OR route_status = 'exhausted'
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
    given_back     INTEGER NOT NULL DEFAULT 0,
    open           INTEGER NOT NULL DEFAULT 1, -- 1 while new or sent, then 0
    CHECK ((status = 'failed') = (failure IS NOT NULL)),
    CHECK ((phone_index IS NULL) = (phone_sealed IS NULL)),
    CHECK ((email_index IS NULL) = (email_sealed IS NULL)),
    CHECK (phone_index IS NOT NULL OR email_index IS NOT NULL)
) STRICT;

INSERT INTO processes_7 (
    id, uuid, tenant, type_id, plan_id, status, failure, attempts, generation, route, route_status,
    route_attempts, key_id, created_at_ms, updated_at_ms, expires_at_ms, phone_index, phone_sealed,
    phone_counted, email_index, email_sealed, email_counted, address, entities, given_back, open
)
SELECT
    id, uuid, tenant, type_id, plan_id, status, failure, attempts, generation, route, route_status,
    route_attempts, key_id, created_at_ms, updated_at_ms, expires_at_ms, phone_index, phone_sealed,
    phone_counted, email_index, email_sealed, email_counted, address, entities, given_back, open
FROM processes ORDER BY id;

DELETE FROM sqlite_sequence WHERE name = 'processes_7'; -- the last number may be a forgotten one's
INSERT INTO sqlite_sequence (name, seq)
SELECT 'processes_7', seq FROM sqlite_sequence WHERE name = 'processes';
DROP TABLE processes;
ALTER TABLE processes_7 RENAME TO processes;

CREATE INDEX processes_type ON processes (tenant, type_id);
CREATE INDEX processes_open_end ON processes (expires_at_ms) WHERE open = 1;
CREATE INDEX processes_created ON processes (created_at_ms);
CREATE INDEX processes_plan ON processes (plan_id);

-- As sqlite.org/lang_altertable.html (7) has it for changes that leave the rows as they are.
PRAGMA writable_schema = 1;
UPDATE sqlite_schema SET sql = replace(
    sql,
    'state IN (''queued'', ''leased'', ''sent'', ''failed'', ''uncertain'', ''void'')',
    'state = ''queued'' OR state = ''leased'' OR state = ''sent'' OR state = ''failed'''
    || ' OR state = ''uncertain'' OR state = ''void'''
) WHERE type = 'table' AND name = 'messages';
UPDATE sqlite_schema SET sql = replace(
    replace(
        sql,
        'state IN (''issued'', ''confirmed'', ''superseded'', ''expired'', ''revoked'', ''void'')',
        'state = ''issued'' OR state = ''confirmed'' OR state = ''superseded'''
        || ' OR state = ''expired'' OR state = ''revoked'' OR state = ''void'''
    ),
    'confirmed_route IN (''v1'', ''v2'', ''quick'')',
    'confirmed_route = ''v1'' OR confirmed_route = ''v2'' OR confirmed_route = ''quick'''
) WHERE type = 'table' AND name = 'device_codes';
PRAGMA writable_schema = 0;
