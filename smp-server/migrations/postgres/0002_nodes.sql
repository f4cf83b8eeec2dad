-- Several servers that share this database and serve one address: who they are, and who has which subscription.

CREATE TABLE nodes (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Where the node listens (LISTEN). Channels belong to a whole database, so their names are random.
    channel     text NOT NULL UNIQUE,
    -- A node that does not renew its lease is gone.
    lease_until timestamptz NOT NULL
);

-- The order in which nodes take subscriptions: the highest claim holds.
CREATE SEQUENCE claims;

-- Which node has a subscription. Not worth a log: after a crash of the database nodes bring their own back.
CREATE UNLOGGED TABLE subscriptions (
    -- 'Q' a queue by its recipient id, 'N' a notifier, 'S' a service.
    kind  text NOT NULL CHECK (kind IN ('Q', 'N', 'S')),
    id    bytea NOT NULL,
    node  bigint NOT NULL,
    claim bigint NOT NULL,
    -- The node that had it before.
    former bigint,
    PRIMARY KEY (id, kind)
) WITH (fillfactor = 70);

CREATE INDEX subscriptions_of_node ON subscriptions (node);

-- Takes subscriptions for a node; says by which claim, and which other node had it before.
CREATE FUNCTION claim_subscriptions(kinds text[], ids bytea[], at_node bigint)
RETURNS TABLE (kind text, id bytea, claim bigint, former bigint) LANGUAGE sql AS $$
    INSERT INTO subscriptions AS present (kind, id, node, claim)
    SELECT given.kind, given.id, at_node, nextval('claims')
    FROM (SELECT DISTINCT all_given.kind, all_given.id FROM unnest(kinds, ids) AS all_given (kind, id)
          ORDER BY all_given.id, all_given.kind) given
    -- A node that was forgotten takes nothing.
    WHERE EXISTS (SELECT 1 FROM nodes WHERE number = at_node)
    -- A new number once the row is locked: who comes later has the higher one.
    ON CONFLICT (id, kind) DO UPDATE SET former = present.node, node = excluded.node, claim = nextval('claims')
    RETURNING present.kind, present.id, present.claim, nullif(present.former, at_node)
$$;

-- Brings subscriptions of a node back that this table lost, unless a later claim holds. A claim is given out once: the
-- same one is of the same node, under the number that it had before.
CREATE FUNCTION restore_subscriptions(kinds text[], ids bytea[], of_claims bigint[], at_node bigint)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO subscriptions AS present (kind, id, node, claim)
    SELECT given.kind, given.id, at_node, given.claim
    FROM unnest(kinds, ids, of_claims) AS given (kind, id, claim) ORDER BY given.id, given.kind
    ON CONFLICT (id, kind) DO UPDATE SET former = NULL, node = excluded.node, claim = excluded.claim
    WHERE present.claim <= excluded.claim
$$;

-- By which claims other nodes have subscriptions; NULL where none has it, or none is named.
CREATE FUNCTION rival_claims(kinds text[], ids bytea[], at_node bigint) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    SELECT array_agg(subscriptions.claim ORDER BY given.turn)
    FROM unnest(kinds, ids) WITH ORDINALITY AS given (kind, id, turn)
    LEFT JOIN subscriptions ON subscriptions.kind = given.kind AND subscriptions.id = given.id
                           AND subscriptions.node <> at_node
$$;

-- Forgets nodes, and whether there were any whose end was not their own will: then others may have missed something.
CREATE FUNCTION forget_dead_nodes() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    dead bigint[] := ARRAY(SELECT number FROM nodes WHERE lease_until < now() FOR UPDATE SKIP LOCKED);
BEGIN
    DELETE FROM subscriptions WHERE node = ANY (dead);
    DELETE FROM nodes WHERE number = ANY (dead);
    PERFORM pg_notify(channel, 'missed') FROM nodes WHERE cardinality(dead) > 0;
    RETURN cardinality(dead) > 0;
END $$;
