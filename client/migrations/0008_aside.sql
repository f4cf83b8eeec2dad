-- Second connections that have ended: what waits in our queues of them is read, until nothing comes any more.

ALTER TABLE relay_connections ADD COLUMN aside INTEGER NOT NULL DEFAULT 0 CHECK (aside IN (0, 1));
CREATE INDEX relay_connections_aside ON relay_connections (connection_id) WHERE aside = 1;
