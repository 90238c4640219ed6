-- The tables of tower-flags in PostgreSQL 14 or later, in the first schema of the search path.
-- To run it again changes nothing.

BEGIN;

-- Fails if another session holds a lock that this needs, so that nothing waits behind it: run it again.
SET LOCAL lock_timeout = '1500ms';
SET LOCAL statement_timeout = '4500ms';

-- Several processes may start at once: "IF NOT EXISTS" alone lets one of them fail.
SELECT pg_catalog.pg_advisory_xact_lock(8391162112114);

-- From here on, no other schema of the search path has a say.
DO $$
BEGIN
    IF pg_catalog.current_schema() IS NOT NULL THEN
        PERFORM pg_catalog.set_config(
            'search_path',
            pg_catalog.format('%I, pg_temp', pg_catalog.current_schema()),
            true
        );
    END IF;
END
$$;

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
    -- SHA-256 of the entry before, or the id of a key, `:`, and an HMAC of it.
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

DO $$
DECLARE
    own_schema name := pg_catalog.current_schema();
    foreign_one record;
BEGIN
    -- Functions and operators of the schema have no say either.
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

    -- Made only where it is missing: it locks the table, which others may be editing.
    IF NOT EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = to_regclass(format('%I.tower_flags', own_schema)) AND tgname = 'tower_flags_notify'
    ) THEN
        EXECUTE format(
            'CREATE TRIGGER tower_flags_notify
                AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %1$I.tower_flags
                FOR EACH STATEMENT EXECUTE FUNCTION %1$I.tower_flags_notify()',
            own_schema
        );
    END IF;

    -- What another role has made before would run its code as whoever edits. Undoes everything.
    SELECT o.kind, o.name, pg_get_userbyid(o.owner) AS owner INTO foreign_one
    FROM pg_namespace n, pg_database d, (
        SELECT 'table' AS kind, oid::regclass::text AS name, relnamespace AS place, relowner AS owner FROM pg_class
        WHERE relname IN ('tower_flags', 'tower_flags_versions', 'tower_flags_history', 'tower_flags_head')
        UNION ALL
        SELECT 'function', oid::regprocedure::text, pronamespace, proowner FROM pg_proc
        WHERE proname = 'tower_flags_notify' AND pronargs = 0
    ) o
    WHERE n.nspname = own_schema AND o.place = n.oid AND d.datname = current_database()
        AND NOT (pg_has_role(o.owner, current_user, 'MEMBER') OR pg_has_role(o.owner, n.nspowner, 'MEMBER')
            OR pg_has_role(o.owner, d.datdba, 'MEMBER'))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'the % % belongs to %, and its code would run as whoever edits; nothing was changed',
            foreign_one.kind, foreign_one.name, foreign_one.owner
            USING ERRCODE = 'invalid_object_definition', HINT = 'Drop it, or use a schema of its own.';
    END IF;
END
$$;

COMMIT;
