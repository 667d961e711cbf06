-- Version 1. Texts are JSON as the types of sluice-control-core write it; digests are 64 hexadecimal digits.

-- One row: which store this is. `touched` is what the health check writes.
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    history TEXT NOT NULL,
    touched INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Each document once, by the digest of its two texts.
CREATE TABLE documents (
    key TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    json TEXT NOT NULL
) STRICT;

CREATE TABLE revisions (
    id INTEGER PRIMARY KEY,
    document TEXT NOT NULL REFERENCES documents (key),
    content TEXT NOT NULL
) STRICT;

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    entry TEXT NOT NULL
) STRICT;

-- What was answered to the requests of the last 24 hours that have an idempotency key. `at` is in milliseconds.
CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    revision INTEGER NOT NULL REFERENCES revisions (id),
    at INTEGER NOT NULL
) STRICT;

CREATE INDEX answers_by_age ON answers (at);

-- What is written stays as it is, whoever holds the file open.
CREATE TRIGGER documents_stay BEFORE UPDATE ON documents BEGIN SELECT RAISE (ABORT, 'a document never changes'); END;
CREATE TRIGGER revisions_stay BEFORE UPDATE ON revisions BEGIN SELECT RAISE (ABORT, 'a revision never changes'); END;
CREATE TRIGGER revisions_remain BEFORE DELETE ON revisions BEGIN SELECT RAISE (ABORT, 'a revision is never removed'); END;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN SELECT RAISE (ABORT, 'an audit entry never changes'); END;
CREATE TRIGGER audit_remains BEFORE DELETE ON audit BEGIN SELECT RAISE (ABORT, 'an audit entry is never removed'); END;
