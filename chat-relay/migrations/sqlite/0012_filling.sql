-- How far the relay is in the owner's history, and when it looks at that again.

ALTER TABLE served_groups ADD COLUMN fill TEXT;
ALTER TABLE served_groups ADD COLUMN fill_due_ms INTEGER;
CREATE INDEX served_groups_by_fill ON served_groups (fill_due_ms) WHERE fill_due_ms IS NOT NULL;
