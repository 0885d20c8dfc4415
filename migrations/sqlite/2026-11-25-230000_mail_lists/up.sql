-- The outbox is listed newest first, all of it or by state.
CREATE INDEX mails_newest ON mails (queued_at DESC, id DESC);
CREATE INDEX mails_by_state ON mails (state, queued_at DESC, id DESC);
