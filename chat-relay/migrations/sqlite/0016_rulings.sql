-- What was decided about a member and stands: see docs/protocol.md §5, "Rulings".

-- The newest block or unblocking, as JSON with the bytes that its author signed.
ALTER TABLE members ADD COLUMN restriction TEXT;
