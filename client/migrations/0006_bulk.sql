-- The second connection to a relay, for what is passed on: see docs/protocol.md §5.

CREATE TABLE bulk_connections (
    group_relay_id INTEGER PRIMARY KEY REFERENCES group_relays ON DELETE CASCADE,
    -- From its request on.
    connection_id  INTEGER,
    -- When the engine looks at it again, unasked; none while it waits for nothing.
    due_at_ms      INTEGER,
    -- Whether both connections are in use.
    in_use         INTEGER NOT NULL CHECK (in_use IN (0, 1)),
    sealed         BLOB NOT NULL
) STRICT;

CREATE INDEX bulk_connections_by_due ON bulk_connections (due_at_ms) WHERE due_at_ms IS NOT NULL;

-- An event may be on its way to a relay on both connections.
CREATE TABLE deliveries_by_connection (
    outbox_id      INTEGER NOT NULL REFERENCES outbox ON DELETE CASCADE,
    group_relay_id INTEGER NOT NULL REFERENCES group_relays ON DELETE CASCADE,
    connection_id  INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    PRIMARY KEY (outbox_id, connection_id)
) STRICT, WITHOUT ROWID;

INSERT INTO deliveries_by_connection (outbox_id, group_relay_id, connection_id, number)
    SELECT outbox_id, group_relay_id, connection_id, number FROM deliveries;
DROP TABLE deliveries;
ALTER TABLE deliveries_by_connection RENAME TO deliveries;
CREATE INDEX deliveries_by_number ON deliveries (connection_id, number);
