-- Who may use the pages: links that were mailed, until they are used, and the sessions that they opened.
CREATE TABLE sign_ins (
    digest BYTEA NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('link', 'session')),
    role TEXT NOT NULL CHECK (role IN ('customer', 'operator')),
    visitor TEXT NOT NULL,
    issued_at TIMESTAMPTZ NOT NULL,
    used_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX sign_ins_by_visitor ON sign_ins (role, visitor);
CREATE INDEX sign_ins_by_end ON sign_ins (expires_at);
