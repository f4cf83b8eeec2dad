-- What the operator decided at run time, and what was used of what is allowed.

-- Settings given through the control socket; they win over the file.
CREATE TABLE operator_settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Groups whose messages are taken and kept, but not handed out.
CREATE TABLE paused_groups (
    group_id INTEGER PRIMARY KEY REFERENCES served_groups ON DELETE CASCADE
) STRICT;

-- Groups that are not served, remembered after everything else of them is gone.
CREATE TABLE rejections (
    rejection_id    INTEGER PRIMARY KEY AUTOINCREMENT,
    group_link      TEXT NOT NULL UNIQUE,
    -- Known when the group link was read before.
    public_group_id BLOB,
    group_name      TEXT NOT NULL,
    since_ms        INTEGER NOT NULL
) STRICT;

CREATE INDEX rejections_by_group ON rejections (public_group_id) WHERE public_group_id IS NOT NULL;

CREATE TABLE allowed_owners (
    owner_key BLOB PRIMARY KEY,
    note      TEXT NOT NULL,
    since_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Invitation codes, by their digests: the codes themselves are not kept.
CREATE TABLE codes (
    code_id    INTEGER PRIMARY KEY AUTOINCREMENT,
    digest     BLOB NOT NULL UNIQUE,
    note       TEXT NOT NULL,
    groups_max INTEGER NOT NULL,
    issued_ms  INTEGER NOT NULL,
    until_ms   INTEGER,
    revoked    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A group that was taken by a code, once however often it is invited again.
CREATE TABLE code_uses (
    code_id    INTEGER NOT NULL REFERENCES codes ON DELETE CASCADE,
    group_link TEXT NOT NULL,
    PRIMARY KEY (code_id, group_link)
) STRICT, WITHOUT ROWID;

-- Whose quota a group counts for: a code, or an owner's key.
CREATE TABLE group_accounts (
    group_id INTEGER PRIMARY KEY REFERENCES served_groups ON DELETE CASCADE,
    account  TEXT NOT NULL
) STRICT;

CREATE INDEX group_accounts_by_account ON group_accounts (account, group_id);

-- Messages and bytes taken on the last day on which any were; the empty account is all of them.
CREATE TABLE account_days (
    account  TEXT PRIMARY KEY,
    day      INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys that do not come back under another member id.
CREATE INDEX members_barred ON members (group_id, member_key) WHERE status = 'removed' OR blocked = 1;
