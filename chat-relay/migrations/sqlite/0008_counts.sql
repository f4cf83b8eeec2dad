-- How many members are in, kept with every change of one: no join counts rows.

-- Of each group. Without a foreign key: what goes with a group is still subtracted from its account by it.
CREATE TABLE group_counts (
    group_id INTEGER PRIMARY KEY,
    members  INTEGER NOT NULL
) STRICT;

-- For metrics of the largest groups.
CREATE INDEX group_counts_by_size ON group_counts (members);

-- Of all groups of an account; the empty account is all of them.
CREATE TABLE account_counts (
    account TEXT PRIMARY KEY,
    members INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO group_counts (group_id, members)
    SELECT group_id, count(*) FROM members WHERE status IN ('accepted', 'connected') GROUP BY group_id;
INSERT INTO account_counts (account, members)
    SELECT account, sum(members) FROM group_accounts JOIN group_counts USING (group_id) GROUP BY account;
INSERT INTO account_counts (account, members) SELECT '', coalesce(sum(members), 0) FROM group_counts;

CREATE TRIGGER member_counted_in AFTER INSERT ON members WHEN new.status IN ('accepted', 'connected') BEGIN
    INSERT INTO group_counts (group_id, members) VALUES (new.group_id, 1)
        ON CONFLICT DO UPDATE SET members = members + 1;
    UPDATE account_counts SET members = members + 1 WHERE account = ''
        OR account = (SELECT account FROM group_accounts WHERE group_id = new.group_id);
END;

CREATE TRIGGER member_counted_out AFTER DELETE ON members WHEN old.status IN ('accepted', 'connected') BEGIN
    UPDATE group_counts SET members = members - 1 WHERE group_id = old.group_id;
    UPDATE account_counts SET members = members - 1 WHERE account = ''
        OR account = (SELECT account FROM group_accounts WHERE group_id = old.group_id);
END;

CREATE TRIGGER member_came_in AFTER UPDATE OF status ON members
    WHEN new.status IN ('accepted', 'connected') AND old.status NOT IN ('accepted', 'connected') BEGIN
    INSERT INTO group_counts (group_id, members) VALUES (new.group_id, 1)
        ON CONFLICT DO UPDATE SET members = members + 1;
    UPDATE account_counts SET members = members + 1 WHERE account = ''
        OR account = (SELECT account FROM group_accounts WHERE group_id = new.group_id);
END;

CREATE TRIGGER member_went_out AFTER UPDATE OF status ON members
    WHEN old.status IN ('accepted', 'connected') AND new.status NOT IN ('accepted', 'connected') BEGIN
    UPDATE group_counts SET members = members - 1 WHERE group_id = old.group_id;
    UPDATE account_counts SET members = members - 1 WHERE account = ''
        OR account = (SELECT account FROM group_accounts WHERE group_id = old.group_id);
END;

CREATE TRIGGER account_counted_in AFTER INSERT ON group_accounts BEGIN
    INSERT INTO account_counts (account, members)
        VALUES (new.account, coalesce((SELECT members FROM group_counts WHERE group_id = new.group_id), 0))
        ON CONFLICT DO UPDATE SET members = members + excluded.members;
END;

CREATE TRIGGER account_counted_out AFTER DELETE ON group_accounts BEGIN
    UPDATE account_counts
        SET members = members - coalesce((SELECT members FROM group_counts WHERE group_id = old.group_id), 0)
        WHERE account = old.account;
END;

CREATE TRIGGER account_changed AFTER UPDATE OF account ON group_accounts WHEN new.account <> old.account BEGIN
    UPDATE account_counts
        SET members = members - coalesce((SELECT members FROM group_counts WHERE group_id = old.group_id), 0)
        WHERE account = old.account;
    INSERT INTO account_counts (account, members)
        VALUES (new.account, coalesce((SELECT members FROM group_counts WHERE group_id = new.group_id), 0))
        ON CONFLICT DO UPDATE SET members = members + excluded.members;
END;

CREATE TRIGGER group_counted_out AFTER DELETE ON served_groups BEGIN
    DELETE FROM group_counts WHERE group_id = old.group_id;
END;
