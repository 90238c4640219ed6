-- The tables of tower-flags in SQLite 3.39 or later. To run it again changes nothing.

-- Readers and a writer do not wait for each other. It stays with the file.
PRAGMA journal_mode = WAL;

BEGIN IMMEDIATE;

-- What people see and edit by hand: one flag a row, its definition in JSON.
CREATE TABLE IF NOT EXISTS tower_flags (
    name TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL
);

-- What the last edit through tower-flags left: apart, so that it outlives what is done by hand.
CREATE TABLE IF NOT EXISTS tower_flags_versions (
    name TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    -- SHA-256 of the definition, empty where the flag was removed.
    content TEXT NOT NULL
);

-- Who changed what, when and why. Entries are added, and never changed.
CREATE TABLE IF NOT EXISTS tower_flags_history (
    number INTEGER PRIMARY KEY,
    flag TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- Milliseconds since 1970: datetime(at / 1000, 'unixepoch').
    at INTEGER NOT NULL,
    -- NULL: somebody who changed tower_flags by hand.
    actor TEXT,
    reason TEXT,
    before TEXT,
    after TEXT,
    -- SHA-256 of the entry before, or the id of a key, `:`, and an HMAC of it.
    previous TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS tower_flags_history_of_flag ON tower_flags_history (flag, number);

-- Number and digest of the last entry: one row, and none before the first edit.
CREATE TABLE IF NOT EXISTS tower_flags_head (
    is_only INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (is_only = 1),
    number INTEGER NOT NULL,
    digest TEXT NOT NULL
);

COMMIT;
