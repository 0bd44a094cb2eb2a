-- Accounts of the svc face, their sessions, and the secrets that name OTP processes to sessions.
-- Session ids and secrets are stored as SHA-256 only, an e-mail sealed and by its keyed index, a
-- password as the string of a memory-hard function, in a table that no look-up of accounts reads.

CREATE TABLE users (
    uid              TEXT    PRIMARY KEY,
    organisation     TEXT    NOT NULL,
    email_index      BLOB    NOT NULL,
    email_sealed     BLOB    NOT NULL,
    email_key_id     TEXT    NOT NULL, -- the key it is sealed under
    firstname        TEXT    NOT NULL,
    lastname         TEXT    NOT NULL,
    created_at_ms    INTEGER NOT NULL,
    password_version INTEGER NOT NULL, -- grows with each change; 0: there is none
    UNIQUE (email_index, organisation)
) STRICT, WITHOUT ROWID;

CREATE INDEX users_key ON users (email_key_id);

CREATE TABLE passwords (
    uid           TEXT PRIMARY KEY REFERENCES users (uid),
    password_hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    digest        BLOB    PRIMARY KEY,
    organisation  TEXT    NOT NULL,
    host          TEXT    NOT NULL,
    uid           TEXT,                -- NULL: nobody has signed in
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_user ON sessions (uid) WHERE uid IS NOT NULL;
CREATE INDEX sessions_end ON sessions (expires_at_ms);

-- What is not here is in the process. A reset goes with its process, whoever forgets that.
CREATE TABLE resets (
    secret_digest  BLOB    PRIMARY KEY,
    process_id     INTEGER NOT NULL UNIQUE REFERENCES processes (id) ON DELETE CASCADE,
    uid            TEXT,               -- NULL: a decoy
    email_index    BLOB    NOT NULL,
    session_digest BLOB    NOT NULL,
    method         TEXT    NOT NULL,
    expires_at_ms  INTEGER NOT NULL    -- the process's
) STRICT, WITHOUT ROWID;

CREATE INDEX resets_asked ON resets (session_digest, email_index, method, expires_at_ms);
CREATE INDEX resets_user ON resets (uid, expires_at_ms) WHERE uid IS NOT NULL;

-- Attempts that were right and ended nothing: with them the numbers of attempts are never given
-- twice.
ALTER TABLE processes ADD COLUMN given_back INTEGER NOT NULL DEFAULT 0;
