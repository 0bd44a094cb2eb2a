-- Whether a process is open, in a column of its own: `status` changes with each message that is
-- sent, and what changes in an index dirties a page at random. So a contact has one index where it
-- had two, of all its processes and of the open ones, and sending touches none.

ALTER TABLE processes ADD COLUMN open INTEGER NOT NULL DEFAULT 1; -- 1 while new or sent, then 0
UPDATE processes SET open = 0 WHERE status NOT IN ('new', 'sent');

DROP INDEX processes_phone;
DROP INDEX processes_email;
DROP INDEX processes_phone_open;
DROP INDEX processes_email_open;
DROP INDEX processes_open_end;
CREATE INDEX processes_phone ON processes (phone_index, open, type_id)
WHERE phone_index IS NOT NULL;
CREATE INDEX processes_email ON processes (email_index, open, type_id)
WHERE email_index IS NOT NULL;
CREATE INDEX processes_open_end ON processes (expires_at_ms) WHERE open = 1;
