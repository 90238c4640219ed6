-- Objects of roles that are not trusted and whose code would run, or whose rows would be read, when the tables are used.
-- Only pg_catalog is searched here.
WITH place AS (
    SELECT n.nspname, n.nspowner, d.datdba
    FROM pg_namespace n, pg_database d
    WHERE n.oid = :schema AND d.datname = current_database()
), tables AS (
    SELECT oid, relkind, relowner FROM pg_class WHERE relnamespace = :schema AND relname IN (:tables)
), parts (class, object, name, on_table) AS (
    -- Each of these can be added by the owner of the table alone, or by roles that the owner lets.
    SELECT 'pg_trigger'::regclass, x.oid, format('trigger %I', x.tgname), t.oid
        FROM tables t JOIN pg_trigger x ON x.tgrelid = t.oid WHERE NOT x.tgisinternal
    UNION ALL SELECT 'pg_rewrite'::regclass, x.oid, format('rule %I', x.rulename), t.oid
        FROM tables t JOIN pg_rewrite x ON x.ev_class = t.oid
    UNION ALL SELECT 'pg_policy'::regclass, x.oid, format('policy %I', x.polname), t.oid
        FROM tables t JOIN pg_policy x ON x.polrelid = t.oid
    UNION ALL SELECT 'pg_constraint'::regclass, x.oid, format('constraint %I', x.conname), t.oid
        FROM tables t JOIN pg_constraint x ON x.conrelid = t.oid
    UNION ALL SELECT 'pg_attrdef'::regclass, x.oid, 'default', t.oid
        FROM tables t JOIN pg_attrdef x ON x.adrelid = t.oid
    UNION ALL SELECT 'pg_class'::regclass, x.indexrelid, 'index', t.oid
        FROM tables t JOIN pg_index x ON x.indrelid = t.oid
    UNION ALL SELECT 'pg_class'::regclass, t.oid, 'column', t.oid
        FROM tables t
), used AS (
    SELECT d.refclassid, d.refobjid, format(', used by a %s on the table %s,', p.name, p.on_table::regclass) AS place
    FROM parts p JOIN pg_depend d ON d.classid = p.class AND d.objid = p.object
), found (kind, object, place, owner) AS (
    SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
            WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text, '', relowner
        FROM tables
    UNION ALL SELECT 'TABLE', c.oid::regclass::text, format(', which inherits from the table %s,', t.oid::regclass),
            c.relowner
        FROM tables t JOIN pg_inherits i ON i.inhparent = t.oid JOIN pg_class c ON c.oid = i.inhrelid
    UNION ALL SELECT 'TABLE', c.oid::regclass::text,
            format(', which has a foreign key to the table %s,', t.oid::regclass), c.relowner
        FROM tables t JOIN pg_trigger x ON x.tgrelid = t.oid JOIN pg_class c ON c.oid = x.tgconstrrelid
        WHERE x.tgisinternal
    UNION ALL SELECT 'FUNCTION', p.oid::regprocedure::text, u.place, p.proowner
        FROM used u JOIN pg_proc p ON u.refclassid = 'pg_proc'::regclass AND p.oid = u.refobjid
    UNION ALL SELECT 'TYPE', format_type(y.oid, NULL), u.place, y.typowner
        FROM used u JOIN pg_type y ON u.refclassid = 'pg_type'::regclass AND y.oid = u.refobjid
    UNION ALL SELECT 'OPERATOR', o.oid::regoperator::text, u.place, o.oprowner
        FROM used u JOIN pg_operator o ON u.refclassid = 'pg_operator'::regclass AND o.oid = u.refobjid
    UNION ALL SELECT 'FUNCTION', oid::regprocedure::text, '', proowner
        FROM pg_proc
        WHERE :makes_function AND pronamespace = :schema AND proname = 'tower_flags_notify' AND pronargs = 0
)
SELECT DISTINCT f.kind, f.object, f.place, quote_ident(pg_get_userbyid(f.owner)), quote_ident(current_user::text),
    quote_ident(p.nspname), quote_ident(pg_get_userbyid(p.nspowner)), quote_ident(pg_get_userbyid(p.datdba))
FROM found f, place p
WHERE NOT (pg_has_role(f.owner, current_user, 'MEMBER') OR pg_has_role(f.owner, p.nspowner, 'MEMBER')
    OR pg_has_role(f.owner, p.datdba, 'MEMBER'))
ORDER BY f.place, f.kind DESC, f.object
LIMIT 20
