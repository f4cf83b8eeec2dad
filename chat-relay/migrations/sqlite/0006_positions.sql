-- Positions instead of copies: what is to be passed on is a stream per group, and each member has a place in it.

-- One row per message that is passed on, in the order in which they came.
CREATE TABLE deliveries (
    delivery_id    INTEGER PRIMARY KEY AUTOINCREMENT,
    group_id       INTEGER NOT NULL REFERENCES served_groups ON DELETE CASCADE,
    author         INTEGER NOT NULL REFERENCES members,
    support_of     BLOB,
    -- Whether members meet its author by messages.
    introduces     INTEGER NOT NULL DEFAULT 0,
    -- The stored message, and what goes ahead of its bytes; computed by the migration below it for what was waiting already.
    message_number INTEGER REFERENCES messages,
    forward        BLOB,
    -- Or a body that goes by itself.
    said           BLOB,
    -- The author's profile for those who have not met it; made when the first of them is served.
    introduction   BLOB
) STRICT;

CREATE INDEX deliveries_by_group ON deliveries (group_id, delivery_id);
CREATE INDEX deliveries_by_message ON deliveries (message_number) WHERE message_number IS NOT NULL;
CREATE INDEX deliveries_by_author ON deliveries (author);

-- How far a group's messages have been handed out.
CREATE TABLE streams (
    group_id INTEGER PRIMARY KEY REFERENCES served_groups ON DELETE CASCADE,
    -- The last message of the stream.
    head     INTEGER NOT NULL,
    -- The last member that the present round over all members has served; none between two rounds.
    cursor   INTEGER,
    -- Whether another round follows: something came for those whom this round has passed.
    again    INTEGER NOT NULL DEFAULT 0,
    -- The message after which the group ends.
    ends_at  INTEGER
) STRICT;

-- Where each member stands who can be reached. Kept small: there is one for each member, and each message moves each.
CREATE TABLE positions (
    group_id      INTEGER NOT NULL REFERENCES served_groups ON DELETE CASCADE,
    member_number INTEGER NOT NULL REFERENCES members ON DELETE CASCADE,
    connection_id INTEGER NOT NULL REFERENCES connections ON DELETE CASCADE,
    -- The last message that the member's server has.
    position      INTEGER NOT NULL,
    -- See `records::Stage`.
    stage         INTEGER NOT NULL DEFAULT 0,
    -- The last message of what is on its way to the server, and the number of the agent's message that carries it.
    given         INTEGER,
    number        INTEGER,
    PRIMARY KEY (group_id, member_number)
) STRICT, WITHOUT ROWID;

CREATE INDEX positions_by_connection ON positions (connection_id);
CREATE INDEX positions_by_member ON positions (member_number);
-- Those who are to be served besides the rounds: few.
CREATE INDEX positions_apart ON positions (group_id, stage, member_number) WHERE stage >= 3;

-- How many members stand where: the lowest says which messages everybody has.
CREATE TABLE position_counts (
    group_id INTEGER NOT NULL REFERENCES served_groups ON DELETE CASCADE,
    position INTEGER NOT NULL,
    members  INTEGER NOT NULL,
    PRIMARY KEY (group_id, position)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER position_added AFTER INSERT ON positions BEGIN
    INSERT INTO position_counts VALUES (new.group_id, new.position, 1)
        ON CONFLICT DO UPDATE SET members = members + 1;
END;

CREATE TRIGGER position_gone AFTER DELETE ON positions BEGIN
    UPDATE position_counts SET members = members - 1 WHERE group_id = old.group_id AND position = old.position;
    DELETE FROM position_counts WHERE group_id = old.group_id AND position = old.position AND members <= 0;
END;

CREATE TRIGGER position_moved AFTER UPDATE OF position ON positions WHEN new.position <> old.position BEGIN
    UPDATE position_counts SET members = members - 1 WHERE group_id = old.group_id AND position = old.position;
    DELETE FROM position_counts WHERE group_id = old.group_id AND position = old.position AND members <= 0;
    INSERT INTO position_counts VALUES (new.group_id, new.position, 1)
        ON CONFLICT DO UPDATE SET members = members + 1;
END;

-- A shared body is its bytes, or says of which messages it is made: each of these once.
ALTER TABLE bodies ADD COLUMN recipe_of INTEGER REFERENCES served_groups;
CREATE UNIQUE INDEX bodies_by_recipe ON bodies (recipe_of, body) WHERE recipe_of IS NOT NULL;

-- What waited to be handed out goes on where it was.
INSERT INTO deliveries (group_id, author, support_of, introduces, said)
    SELECT j.group_id, j.author, j.support_of, a.role NOT IN ('owner', 'relay'), j.body FROM delivery_jobs j
    JOIN members a ON a.member_number = j.author WHERE length(j.body) > 0 ORDER BY j.job_id;
INSERT INTO deliveries (group_id, author, support_of, introduces, message_number)
    SELECT t.group_id, m.author, m.support_of, a.role NOT IN ('owner', 'relay'), t.message_number
    FROM delivery_tasks t JOIN messages m ON m.message_number = t.message_number
    JOIN members a ON a.member_number = m.author ORDER BY t.task_id;
INSERT INTO streams (group_id, head, cursor, ends_at)
    SELECT d.group_id, max(d.delivery_id), 0,
        CASE WHEN EXISTS (SELECT 1 FROM delivery_jobs j WHERE j.group_id = d.group_id AND j.ending = 'group')
          OR EXISTS (SELECT 1 FROM delivery_tasks t WHERE t.group_id = d.group_id AND t.ending = 'group')
        THEN max(d.delivery_id) END
    FROM deliveries d GROUP BY d.group_id;
INSERT INTO positions (group_id, member_number, connection_id, position)
    SELECT m.group_id, m.member_number, m.connection_id, coalesce(
        (SELECT min(d.delivery_id) FROM deliveries d WHERE d.group_id = m.group_id)
        - (m.member_number > coalesce((SELECT j.cursor FROM delivery_jobs j WHERE j.group_id = m.group_id
                                       ORDER BY j.job_id LIMIT 1), 0)), 0)
    FROM members m WHERE m.status = 'connected' AND m.link <> 'broken' AND m.connection_id IS NOT NULL;
-- Whose removal was still being announced is cut off at the start.
UPDATE purposes SET until_ms = 0 WHERE member_number IN
    (SELECT removes FROM delivery_jobs UNION SELECT removes FROM delivery_tasks);

DROP TABLE delivery_jobs;
DROP TABLE delivery_tasks;
