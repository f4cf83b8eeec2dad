-- How many members are in, kept with every change of one: no join counts rows.

-- Of each group. Without a foreign key, as in SQLite.
CREATE TABLE group_counts (
    group_id BIGINT PRIMARY KEY,
    members  BIGINT NOT NULL
);

-- For metrics of the largest groups.
CREATE INDEX group_counts_by_size ON group_counts (members);

-- Of all groups of an account; the empty account is all of them. Summed up over groups when it is asked for: a row for
-- all would make the workers of one relay wait for each other at each join.
CREATE VIEW account_counts AS
    SELECT '' AS account, CAST(coalesce(sum(members), 0) AS BIGINT) AS members FROM group_counts
    UNION ALL
    SELECT account, CAST(sum(members) AS BIGINT) FROM group_accounts JOIN group_counts USING (group_id)
    GROUP BY account;

CREATE FUNCTION count_members() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was_in BIGINT := 0;
    is_in BIGINT := 0;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        was_in := (old.status IN ('accepted', 'connected'))::int;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        is_in := (new.status IN ('accepted', 'connected'))::int;
    END IF;
    IF is_in > was_in THEN
        INSERT INTO group_counts VALUES (new.group_id, 1)
            ON CONFLICT (group_id) DO UPDATE SET members = group_counts.members + 1;
    ELSIF is_in < was_in THEN
        UPDATE group_counts SET members = members - 1 WHERE group_id = old.group_id;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER member_counted AFTER INSERT OR DELETE ON members
    FOR EACH ROW EXECUTE FUNCTION count_members();

CREATE TRIGGER member_moved AFTER UPDATE OF status ON members
    FOR EACH ROW WHEN (new.status <> old.status) EXECUTE FUNCTION count_members();

CREATE FUNCTION forget_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM group_counts WHERE group_id = old.group_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER group_counted_out AFTER DELETE ON served_groups
    FOR EACH ROW EXECUTE FUNCTION forget_count();
