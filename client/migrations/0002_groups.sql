-- Layer 3: what the person keeps, groups, their relays and members, messages, and what waits.

-- One value each: own name, restored from a backup.
CREATE TABLE settings (
    name   TEXT PRIMARY KEY NOT NULL,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE servers (
    server_id INTEGER PRIMARY KEY AUTOINCREMENT,
    sealed    BLOB NOT NULL
) STRICT;

CREATE TABLE relay_addresses (
    relay_address_id INTEGER PRIMARY KEY AUTOINCREMENT,
    sealed           BLOB NOT NULL
) STRICT;

CREATE TABLE groups (
    group_id INTEGER PRIMARY KEY AUTOINCREMENT,
    sealed   BLOB NOT NULL
) STRICT;

-- A relay of a group with the connection to it, once there is one.
CREATE TABLE group_relays (
    group_relay_id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id       INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    connection_id  INTEGER,
    -- When the engine looks at this relay again, unasked; none while it waits for nothing.
    due_at_ms      INTEGER,
    sealed         BLOB NOT NULL
) STRICT;

CREATE INDEX group_relays_by_group ON group_relays (group_id, group_relay_id);
CREATE INDEX group_relays_by_due ON group_relays (due_at_ms) WHERE due_at_ms IS NOT NULL;

-- All connections to relays: the one in use, and requests that are not answered yet.
CREATE TABLE relay_connections (
    connection_id  INTEGER PRIMARY KEY,
    group_relay_id INTEGER NOT NULL REFERENCES group_relays ON DELETE CASCADE
) STRICT;

CREATE INDEX relay_connections_by_relay ON relay_connections (group_relay_id);

-- The address behind a group link of ours.
CREATE TABLE group_links (
    connection_id INTEGER PRIMARY KEY,
    group_id      INTEGER NOT NULL UNIQUE REFERENCES groups ON DELETE CASCADE
) STRICT;

CREATE TABLE members (
    group_id  INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    member_id BLOB NOT NULL,
    sealed    BLOB NOT NULL,
    PRIMARY KEY (group_id, member_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    message_id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id   INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    shared_id  BLOB NOT NULL,
    author     BLOB NOT NULL,
    sent_at_ms INTEGER NOT NULL,
    -- Whether `listen` has shown it.
    shown      INTEGER NOT NULL CHECK (shown IN (0, 1)),
    sealed     BLOB NOT NULL,
    UNIQUE (group_id, shared_id)
) STRICT;

CREATE INDEX messages_unshown ON messages (group_id, message_id) WHERE shown = 0;

-- Edits, deletions and reactions that came before their message.
CREATE TABLE held_changes (
    held_change_id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id       INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    shared_id      BLOB NOT NULL,
    sealed         BLOB NOT NULL
) STRICT;

CREATE INDEX held_changes_by_message ON held_changes (group_id, shared_id);

CREATE TABLE reactions (
    group_id  INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    shared_id BLOB NOT NULL,
    member_id BLOB NOT NULL,
    emoji     TEXT NOT NULL,
    PRIMARY KEY (group_id, shared_id, member_id, emoji)
) STRICT, WITHOUT ROWID;

-- Every event that came, by its id: one copy counts, others are compared with it.
CREATE TABLE copies (
    group_id   INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    shared_id  BLOB NOT NULL,
    -- The relay that brought the copy that counts; 0 is ourselves.
    relay_id   INTEGER NOT NULL,
    duplicates INTEGER NOT NULL DEFAULT 0,
    conflicts  INTEGER NOT NULL DEFAULT 0,
    sealed     BLOB NOT NULL,
    PRIMARY KEY (group_id, shared_id)
) STRICT, WITHOUT ROWID;

-- Which relays brought a copy, so that a repetition by one of them is told from a copy of another.
CREATE TABLE copy_relays (
    group_id  INTEGER NOT NULL,
    shared_id BLOB NOT NULL,
    relay_id  INTEGER NOT NULL,
    place     INTEGER NOT NULL,
    PRIMARY KEY (group_id, shared_id, relay_id),
    FOREIGN KEY (group_id, shared_id) REFERENCES copies ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE evidence (
    evidence_id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id    INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    kept_at_ms  INTEGER NOT NULL,
    sealed      BLOB NOT NULL
) STRICT;

-- Own events on their way to the relays. An item without deliveries waits for a relay.
CREATE TABLE outbox (
    outbox_id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id  INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
    shared_id BLOB NOT NULL,
    -- Whether some relay's server has it.
    durable   INTEGER NOT NULL CHECK (durable IN (0, 1)),
    sealed    BLOB NOT NULL
) STRICT;

CREATE INDEX outbox_by_group ON outbox (group_id, outbox_id);

CREATE TABLE deliveries (
    outbox_id      INTEGER NOT NULL REFERENCES outbox ON DELETE CASCADE,
    group_relay_id INTEGER NOT NULL REFERENCES group_relays ON DELETE CASCADE,
    connection_id  INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    PRIMARY KEY (outbox_id, group_relay_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX deliveries_by_number ON deliveries (connection_id, number);
