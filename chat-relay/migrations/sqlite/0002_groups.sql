-- What the relay serves: its address, groups, their members and rosters, and what each connection is for.

CREATE TABLE relay_address (
    only          INTEGER PRIMARY KEY CHECK (only = 1),
    draft         BLOB NOT NULL,
    profile       TEXT NOT NULL,
    connection_id INTEGER REFERENCES connections
) STRICT;

-- Requests at addresses that were taken: a server may deliver one again after a crash.
CREATE TABLE seen_requests (
    digest     BLOB PRIMARY KEY,
    seen_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per (group, owner, member id that the owner gave us): a repeated invitation finds it again, and one that
-- somebody else made up for the same group gets a row of its own, which the group link never lists.
CREATE TABLE served_groups (
    group_id        INTEGER PRIMARY KEY AUTOINCREMENT,
    group_link      TEXT NOT NULL,
    owner_member_id BLOB NOT NULL,
    relay_member_id BLOB NOT NULL,
    -- Where it stands, and when its next step is due.
    life            BLOB NOT NULL,
    due_ms          INTEGER,
    -- From the group link, once it was read and found valid.
    public_group_id BLOB,
    root_key        BLOB,
    profile         TEXT,
    link_version    INTEGER,
    -- The relay link: known before it is created.
    draft           BLOB,
    UNIQUE (group_link, owner_member_id, relay_member_id)
) STRICT;

CREATE INDEX served_groups_by_due ON served_groups (due_ms) WHERE due_ms IS NOT NULL;

-- Owners' requests that wait for their answer.
CREATE TABLE invitations (
    invitation_id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id      INTEGER NOT NULL REFERENCES served_groups ON DELETE CASCADE,
    invitation    BLOB NOT NULL,
    profile       TEXT NOT NULL
) STRICT;

CREATE INDEX invitations_by_group ON invitations (group_id);

CREATE TABLE members (
    member_number    INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id         INTEGER NOT NULL REFERENCES served_groups ON DELETE CASCADE,
    member_id        BLOB NOT NULL,
    role             TEXT NOT NULL,
    status           TEXT NOT NULL,
    profile          TEXT,
    member_key       BLOB,
    blocked          INTEGER NOT NULL DEFAULT 0,
    chat_version     INTEGER NOT NULL DEFAULT 1,
    connection_id    INTEGER REFERENCES connections ON DELETE SET NULL,
    link             TEXT NOT NULL,
    -- Messages were passed over while too many waited: history is owed.
    passed_over      INTEGER NOT NULL DEFAULT 0,
    -- The roster version last served to this member.
    roster_served    INTEGER NOT NULL DEFAULT -1,
    since_ms         INTEGER NOT NULL,
    UNIQUE (group_id, member_id)
) STRICT;

CREATE INDEX members_by_connection ON members (connection_id);
-- The order of delivery pages.
CREATE INDEX members_by_group ON members (group_id, member_number);
CREATE INDEX members_by_role ON members (group_id, role);

-- What a connection is for. Address and relay links have no member; an answer has neither group nor member.
CREATE TABLE purposes (
    connection_id INTEGER PRIMARY KEY REFERENCES connections ON DELETE CASCADE,
    purpose       TEXT NOT NULL,
    group_id      INTEGER REFERENCES served_groups,
    member_number INTEGER REFERENCES members,
    until_ms      INTEGER
) STRICT;

CREATE INDEX purposes_by_group ON purposes (group_id);
CREATE INDEX purposes_by_end ON purposes (until_ms) WHERE until_ms IS NOT NULL;

-- The live roster: header and blob move together.
CREATE TABLE rosters (
    group_id      INTEGER PRIMARY KEY REFERENCES served_groups ON DELETE CASCADE,
    version       INTEGER NOT NULL,
    author        INTEGER NOT NULL REFERENCES members,
    broker_ms     INTEGER NOT NULL,
    message_id    BLOB NOT NULL,
    header        BLOB NOT NULL,
    blob          BLOB NOT NULL
) STRICT;

-- The roster that is being received: at most one per group.
CREATE TABLE roster_transfers (
    group_id      INTEGER PRIMARY KEY REFERENCES served_groups ON DELETE CASCADE,
    record        BLOB NOT NULL
) STRICT;
