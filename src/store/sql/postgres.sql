-- The tables of tower-flags in PostgreSQL 14 or later, in the first schema of the search path.
-- To run it again changes nothing.

BEGIN;

-- Fails if another session holds a lock that this needs, so that nothing waits behind it: run it again.
SET LOCAL lock_timeout = '1500ms';
SET LOCAL statement_timeout = '4500ms';

-- Several processes may start at once: "IF NOT EXISTS" alone lets one of them fail.
SELECT pg_advisory_xact_lock(8391162112114);

-- What people see and edit by hand: one flag a row, its definition in JSON.
CREATE TABLE IF NOT EXISTS tower_flags (
    name text COLLATE "C" PRIMARY KEY,
    definition text COLLATE "C" NOT NULL
);

-- What the last edit through tower-flags left: apart, so that it outlives what is done by hand.
CREATE TABLE IF NOT EXISTS tower_flags_versions (
    name text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    -- SHA-256 of the definition, empty where the flag was removed.
    content text COLLATE "C" NOT NULL
);

-- Who changed what, when and why. Entries are added, and never changed.
CREATE TABLE IF NOT EXISTS tower_flags_history (
    number bigint PRIMARY KEY,
    flag text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    -- Milliseconds since 1970: to_timestamp(at / 1000.0).
    at bigint NOT NULL,
    -- NULL: somebody who changed tower_flags by hand.
    actor text COLLATE "C",
    reason text COLLATE "C",
    before text COLLATE "C",
    after text COLLATE "C",
    -- SHA-256 of the entry before.
    previous text COLLATE "C" NOT NULL,
    -- The pages of one flag. An index of its own would lock the table each time this is run.
    UNIQUE (flag, number)
);

-- Number and digest of the last entry: one row, and none before the first edit.
CREATE TABLE IF NOT EXISTS tower_flags_head (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    number bigint NOT NULL,
    digest text COLLATE "C" NOT NULL
);

-- Every process hears of every change, also of one by hand. The payload names the schema.
CREATE OR REPLACE FUNCTION tower_flags_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('tower_flags', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;

-- Made only where it is missing: it locks the table, which others may be editing.
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = 'tower_flags'::regclass AND tgname = 'tower_flags_notify'
    ) THEN
        CREATE TRIGGER tower_flags_notify
            AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tower_flags
            FOR EACH STATEMENT EXECUTE FUNCTION tower_flags_notify();
    END IF;
END
$$;

COMMIT;
