-- The master key that whoever started last works with: another process must have it in its ring.
CREATE TABLE rings (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    key_id TEXT NOT NULL
);
