-- History is read back page by page.

CREATE INDEX messages_by_group ON messages (group_id, message_number) WHERE support_of IS NULL AND deleted = 0;
