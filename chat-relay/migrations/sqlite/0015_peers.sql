-- The other relays of a group: which there are, and how far we are in their history.

ALTER TABLE served_groups ADD COLUMN relays TEXT;
ALTER TABLE served_groups ADD COLUMN peers TEXT;

-- The connections with them.
CREATE INDEX purposes_of_peers ON purposes (group_id) WHERE purpose IN ('reader', 'source');
