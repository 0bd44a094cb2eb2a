-- What tenants configure (challenge types, their routes, templates) and who may call: API clients.
-- Ids are never used twice, since audit entries and processes name them. A route can name only a
-- type and a template of its own tenant, and only a template of its own channel. No client secret
-- is stored, only its SHA-256.

CREATE TABLE challenge_types (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant        TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    code_type     TEXT    NOT NULL CHECK (
        code_type IN ('numeric', 'alphanumeric', 'alphabetic', 'unambiguous')
    ),
    code_length   INTEGER NOT NULL,
    ttl           INTEGER NOT NULL, -- seconds
    max_attempts  INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    UNIQUE (tenant, name),
    UNIQUE (tenant, id)
) STRICT;

CREATE TABLE templates (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant        TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    channel       TEXT    NOT NULL CHECK (channel IN ('sms', 'email')),
    subject       TEXT    NOT NULL,
    text          TEXT    NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    UNIQUE (tenant, name),
    UNIQUE (tenant, id, channel)
) STRICT;

CREATE TABLE challenge_type_routes (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant            TEXT    NOT NULL,
    challenge_type_id INTEGER NOT NULL,
    "order"           INTEGER,
    channel           TEXT    NOT NULL,
    template_id       INTEGER NOT NULL,
    attempts          INTEGER NOT NULL,
    created_at_ms     INTEGER NOT NULL,
    updated_at_ms     INTEGER NOT NULL,
    version           INTEGER NOT NULL,
    UNIQUE (tenant, id),
    FOREIGN KEY (tenant, challenge_type_id) REFERENCES challenge_types (tenant, id),
    FOREIGN KEY (tenant, template_id, channel) REFERENCES templates (tenant, id, channel)
) STRICT;

CREATE INDEX challenge_type_routes_type ON challenge_type_routes (tenant, challenge_type_id);
CREATE INDEX challenge_type_routes_template
ON challenge_type_routes (tenant, template_id, channel);

CREATE TABLE api_clients (
    seq           INTEGER PRIMARY KEY,
    client_id     TEXT    NOT NULL UNIQUE,
    tenant        TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    scopes        TEXT    NOT NULL, -- words between spaces
    secret_digest BLOB    NOT NULL,
    created_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER
) STRICT;

CREATE TABLE clients_version (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    version INTEGER NOT NULL -- grows with each client added or revoked
) STRICT;

INSERT INTO clients_version (only, version) VALUES (1, 0);

CREATE TABLE settings_versions (
    tenant  TEXT    PRIMARY KEY,
    version INTEGER NOT NULL -- grows with each change of a type, a route or a template of the tenant
) STRICT, WITHOUT ROWID;
