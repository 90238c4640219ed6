//! PostgreSQL schemas in which another role may make objects: none of its code runs as the store's role.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "postgres")]

#[path = "support/chain.rs"]
mod chain;
#[path = "support/servers.rs"]
mod servers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chain::chain;
use servers::Postgres;
use tower_flags::store::{
    Author, Change, ChangeError, Error, ErrorKind, Feed, HistoryPage, PostgresStore, Store, StoreExt,
};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn server() -> Arc<Postgres> {
    Postgres::shared(
        "CREATE ROLE shop LOGIN; CREATE ROLE mallory LOGIN; CREATE ROLE boss LOGIN; CREATE ROLE deputy LOGIN; \
         CREATE ROLE staff; GRANT staff TO shop, mallory; GRANT shop TO deputy",
    )
}

/// A function of mallory's that leaves a trace: a lock that its session holds until it ends.
const RAN: &str = "CREATE FUNCTION ran() RETURNS boolean LANGUAGE plpgsql AS \
     $$ BEGIN PERFORM pg_catalog.pg_advisory_lock_shared(4711); RETURN true; END $$; \
     CREATE FUNCTION ran_on_change() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN PERFORM pg_catalog.pg_advisory_lock_shared(4711); RETURN NEW; END $$;";
const FLAGS: &str =
    "CREATE TABLE tower_flags (name text COLLATE \"C\" PRIMARY KEY, definition text COLLATE \"C\" NOT NULL);";
const HEAD: &str = "CREATE TABLE tower_flags_head (is_only boolean PRIMARY KEY DEFAULT true, number bigint NOT NULL, digest text NOT NULL);";

/// A database in which mallory and shop may make objects in `public`.
struct Shared {
    server: Arc<Postgres>,
    url: String,
}

impl Shared {
    fn new() -> Self {
        let server = server();
        let url = server.fresh();
        server.sql(&url, "GRANT CREATE, USAGE ON SCHEMA public TO mallory, shop, staff, deputy, boss");
        Self { server, url }
    }

    fn url_of(&self, role: &str) -> String {
        self.url.replace("postgres@", &format!("{role}@"))
    }

    fn by(&self, role: &str, statements: &str) -> String {
        self.server.sql(&self.url_of(role), statements)
    }

    fn by_superuser(&self, statements: &str) -> String {
        self.server.sql(&self.url, statements)
    }

    fn store(&self) -> PostgresStore {
        PostgresStore::new(&self.url_of("shop")).unwrap()
    }

    /// Whether mallory's code ran in a session that is still there.
    fn ran(&self) -> bool {
        let statement = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE l.locktype = 'advisory' AND l.objid = 4711 AND d.datname = current_database()";
        self.by_superuser(statement) != "0"
    }

    fn tables(&self) -> String {
        self.by_superuser(
            "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relname ~ '^tower_flags[a-z_]*$' \
             AND relkind <> 'i' AND relname !~ '_(pkey|key)$'",
        )
    }
}

fn alice() -> Author {
    Author::new("alice")
}

/// Does everything that a store does, and returns the errors.
async fn use_all(store: &PostgresStore) -> Vec<Error> {
    let mut errors = Vec::new();
    errors.extend(asked(|| async { store.load(None).await.map(drop) }).await);
    errors.extend(asked(|| async { store.read("x").await.map(drop) }).await);
    errors.extend(asked(|| async { store.history(&HistoryPage::newest()).await.map(drop) }).await);
    errors.extend(asked(|| async { store.condition().await.map(drop) }).await);
    let edit = store.change("x", Change::put_text("true").within(PATIENCE), &alice()).await;
    errors.extend(edit.err().map(|error| match error {
        ChangeError::Store(error) => *error,
        other => panic!("{other}"),
    }));
    errors
}

/// The error of a question, which is asked again while the server of a busy machine answers too late.
async fn asked<F: Future<Output = Result<(), Error>>>(question: impl Fn() -> F) -> Option<Error> {
    let start = Instant::now();
    loop {
        match question().await {
            Err(error) if error.kind() == ErrorKind::Unavailable && start.elapsed() < PATIENCE => {}
            outcome => return outcome.err(),
        }
    }
}

/// What mallory makes first, and the object that an error has to name.
fn attacks() -> Vec<(&'static str, String, &'static str)> {
    let grant = "GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;";
    let with = |what: &str| format!("{RAN} {FLAGS} {what} {grant}");
    vec![
        (
            "a trigger",
            with("CREATE TRIGGER spy BEFORE INSERT ON tower_flags FOR EACH ROW EXECUTE FUNCTION ran_on_change();"),
            "table public.tower_flags of mallory",
        ),
        (
            "a trigger on the head alone",
            format!(
                "{RAN} {HEAD} CREATE TRIGGER spy BEFORE INSERT ON tower_flags_head FOR EACH ROW \
                 EXECUTE FUNCTION ran_on_change(); {grant}"
            ),
            "table public.tower_flags_head of mallory",
        ),
        (
            "a view",
            format!("{RAN} CREATE VIEW tower_flags AS SELECT 'x'::text AS name, ran()::text AS definition; {grant}"),
            "view public.tower_flags of mallory",
        ),
        (
            "a rule",
            with("CREATE RULE spy AS ON INSERT TO tower_flags DO ALSO SELECT ran();"),
            "table public.tower_flags of mallory",
        ),
        ("a constraint", with("ALTER TABLE tower_flags ADD CHECK (ran());"), "table public.tower_flags of mallory"),
        (
            "a default",
            with("ALTER TABLE tower_flags ADD COLUMN spy boolean DEFAULT ran();"),
            "table public.tower_flags of mallory",
        ),
        (
            "a policy",
            with("ALTER TABLE tower_flags ENABLE ROW LEVEL SECURITY; CREATE POLICY spy ON tower_flags USING (ran());"),
            "table public.tower_flags of mallory",
        ),
        (
            "an index",
            with(
                "CREATE FUNCTION of_text(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS \
                 $$ BEGIN RETURN public.ran(); END $$; CREATE INDEX spy ON tower_flags (of_text(name));",
            ),
            "table public.tower_flags of mallory",
        ),
        (
            "a partitioned table",
            format!(
                "CREATE TABLE tower_flags (name text, definition text) PARTITION BY LIST (name); \
                 CREATE TABLE part PARTITION OF tower_flags DEFAULT; {grant}"
            ),
            "table public.tower_flags of mallory",
        ),
        (
            "a materialised view",
            format!(
                "CREATE MATERIALIZED VIEW tower_flags AS SELECT 'x'::text AS name, 'true'::text AS definition; {grant}"
            ),
            "materialized view public.tower_flags of mallory",
        ),
        ("a sequence", "CREATE SEQUENCE tower_flags;".to_owned(), "sequence public.tower_flags of mallory"),
        ("all tables", format!("{} {grant}", PostgresStore::MIGRATION), "table public.tower_flags"),
        (
            "the function",
            "CREATE FUNCTION tower_flags_notify() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
                .to_owned(),
            "function public.tower_flags_notify() of mallory",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn what_another_role_made_first_is_rejected_and_never_runs() {
    for (what, statements, named) in attacks() {
        let place = Shared::new();
        place.by("mallory", &statements);
        let before = place.tables();
        let store = place.store();
        let errors = use_all(&store).await;
        assert!(!place.ran(), "{what}: {errors:?}");
        assert_eq!(place.tables(), before, "{what}: nothing is made");
        assert!(errors.len() >= 2, "{what}: {errors:?}");
        for error in &errors {
            let said = chain(error);
            assert!(error.is_permanent() && said.contains("nothing was read or changed"), "{what}: {said}");
            let expected = "expected objects of shop, of pg_database_owner, who owns the schema public, or of postgres";
            // A sequence or a view cannot be locked as a table, which is all that is said then.
            if !said.contains("found an object of another kind") {
                assert!(said.contains(expected) && said.contains(&format!("found the {named}")), "{what}: {said}");
            }
        }
        assert!(errors.iter().any(|error| chain(error).contains(named)), "{what}: {errors:?}");
        let Err(ChangeError::Store(edit)) = store.change("x", Change::kill(), &alice()).await else { panic!("{what}") };
        assert_eq!(edit.kind(), ErrorKind::Configuration, "{what}: {edit}");
    }
}

/// Runs what the errors say until there is none.
async fn follow_remedies(place: &Shared, store: &PostgresStore) -> usize {
    for remedies in 0..10 {
        let errors = use_all(store).await;
        let Some(error) = errors.first() else { return remedies };
        let said = chain(error);
        let remedy = said.split(" and run ").nth(1).unwrap_or_else(|| panic!("{said}"));
        place.by_superuser(remedy.split(": ").next().unwrap());
    }
    panic!("{:?}", use_all(store).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn the_remedies_in_the_messages_are_some() {
    let place = Shared::new();
    place.by("mallory", PostgresStore::MIGRATION);
    let store = place.store();
    assert_eq!(follow_remedies(&place, &store).await, 5, "four tables and a function");
    store.change("x", Change::kill(), &alice()).await.unwrap();
}

/// The control: what the store rejects would have run.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn what_is_given_to_a_trusted_role_as_it_is_runs() {
    for (what, statements, _) in attacks().into_iter().take(2) {
        let place = Shared::new();
        place.by("mallory", &statements);
        let store = place.store();
        assert!(!use_all(&store).await.is_empty() && !place.ran(), "{what}");
        // The table first, and then the function of its trigger.
        assert!(follow_remedies(&place, &store).await >= 2, "{what}");
        store.change("y", Change::put_text("true"), &alice()).await.unwrap();
        assert!(place.ran(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn what_is_made_to_depend_on_another_role_later_is_rejected() {
    let attacks = [
        (
            "a function of a trigger",
            "CREATE TRIGGER spy BEFORE INSERT ON tower_flags FOR EACH ROW EXECUTE FUNCTION ran_on_change()",
            "function public.ran_on_change(), used by a trigger spy on the table public.tower_flags, of mallory",
        ),
        (
            "a function of a constraint",
            "ALTER TABLE tower_flags ADD CONSTRAINT spy CHECK (ran())",
            "function public.ran(), used by a constraint spy on the table public.tower_flags, of mallory",
        ),
        (
            "a type",
            "ALTER TABLE tower_flags ADD COLUMN extra hers",
            "type public.hers, used by a column on the table public.tower_flags, of mallory",
        ),
        (
            "an operator",
            "ALTER TABLE tower_flags ADD CONSTRAINT spy CHECK (name === name)",
            "operator public.===(text,text), used by a constraint spy on the table public.tower_flags, of mallory",
        ),
        (
            "a function of a rule",
            "CREATE RULE spy AS ON INSERT TO tower_flags DO ALSO SELECT ran()",
            "function public.ran(), used by a rule spy on the table public.tower_flags, of mallory",
        ),
        (
            "a function of a policy",
            "ALTER TABLE tower_flags FORCE ROW LEVEL SECURITY, ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY spy ON tower_flags USING (ran())",
            "function public.ran(), used by a policy spy on the table public.tower_flags, of mallory",
        ),
        (
            "a function of a default",
            "ALTER TABLE tower_flags ADD COLUMN extra boolean DEFAULT ran()",
            "function public.ran(), used by a default on the table public.tower_flags, of mallory",
        ),
        (
            "a function of an index",
            "CREATE INDEX spy ON tower_flags (same(name, name))",
            "function public.same(text,text), used by a",
        ),
    ];
    for (what, statement, named) in attacks {
        let place = Shared::new();
        let store = place.store();
        assert!(use_all(&store).await.is_empty(), "{what}");
        place.by(
            "mallory",
            &format!(
                "{RAN} CREATE DOMAIN hers AS text CHECK (ran()); CREATE FUNCTION same(text, text) RETURNS boolean \
                 IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN public.ran(); END $$; \
                 CREATE OPERATOR === (FUNCTION = same, LEFTARG = text, RIGHTARG = text)"
            ),
        );
        // Checks of rows that are there already run her code as the superuser, before the store has a say.
        place.by("shop", "DELETE FROM tower_flags");
        place.by_superuser(statement);
        let errors = use_all(&place.store()).await;
        assert!(!place.ran(), "{what}: {errors:?}");
        assert!(errors.iter().any(|error| chain(error).contains(named)), "{what}: {errors:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn a_trigger_that_is_added_while_an_edit_waits_for_the_tables_is_rejected() {
    let place = Shared::new();
    let store = place.store();
    assert!(use_all(&store).await.is_empty());
    place.by("mallory", RAN);
    let (mut theirs, mut watch) = (sqlx_connection(&place.url).await, sqlx_connection(&place.url).await);
    let trigger = "BEGIN; CREATE TRIGGER spy BEFORE INSERT OR UPDATE ON tower_flags FOR EACH ROW \
         EXECUTE FUNCTION ran_on_change()";
    sqlx::raw_sql(trigger).execute(&mut theirs).await.unwrap();
    // The edit has begun, and waits for the transaction of the trigger.
    let waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'tower_flags'::regclass";
    let end = async {
        let start = Instant::now();
        while sqlx::raw_sql(waiting).fetch_optional(&mut watch).await.unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "the edit does not wait");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sqlx::raw_sql("COMMIT").execute(&mut theirs).await.unwrap();
    };
    let author = alice();
    let edit = store.change("x", Change::kill().within(PATIENCE), &author);
    let (edited, ()) = tokio::join!(edit, end);
    assert!(!place.ran(), "{edited:?}");
    let Err(ChangeError::Store(error)) = edited else { panic!("{edited:?}") };
    let named = "function public.ran_on_change(), used by a trigger spy on the table public.tower_flags, of mallory";
    let said = chain(&*error);
    assert!(said.contains(named), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn tables_that_inherit_or_refer_are_of_trusted_roles() {
    let place = Shared::new();
    let store = place.store();
    assert!(use_all(&store).await.is_empty());
    place.by("shop", "GRANT REFERENCES ON tower_flags TO mallory");
    place.by("mallory", "CREATE TABLE refers (name text COLLATE \"C\" REFERENCES tower_flags ON DELETE CASCADE)");
    let error = store.load(None).await.unwrap_err();
    let named = "table public.refers, which has a foreign key to the table public.tower_flags, of mallory";
    assert!(error.to_string().contains(named), "{error}");
    place.by("mallory", "DROP TABLE refers; CREATE TABLE child (name text COLLATE \"C\" NOT NULL, definition text COLLATE \"C\" NOT NULL)");
    assert!(use_all(&store).await.is_empty());
    place.by_superuser("ALTER TABLE child INHERIT tower_flags");
    let error = store.load(None).await.unwrap_err();
    let named = "table public.child, which inherits from the table public.tower_flags, of mallory";
    assert!(error.to_string().contains(named), "{error}");
    // A view of mallory's over the tables is hers alone.
    place.by_superuser("ALTER TABLE child NO INHERIT tower_flags");
    place.by("shop", "GRANT SELECT ON tower_flags TO mallory");
    place.by("mallory", &format!("{RAN} CREATE VIEW hers AS SELECT ran(), name FROM tower_flags"));
    assert!(use_all(&store).await.is_empty());
}

async fn assert_accepted(place: &Shared, what: &str) {
    let errors = use_all(&place.store()).await;
    assert!(errors.is_empty(), "{what}: {:?}", errors.iter().map(|error| chain(error)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn roles_that_can_act_as_this_one_or_own_the_place_are_trusted() {
    let grant = "GRANT ALL ON ALL TABLES IN SCHEMA public TO shop";
    for (role, is_trusted) in
        [("shop", true), ("postgres", true), ("deputy", true), ("boss", false), ("mallory", false)]
    {
        let place = Shared::new();
        place.by(role, PostgresStore::MIGRATION);
        place.by(role, grant);
        assert_eq!(use_all(&place.store()).await.is_empty(), is_trusted, "{role}");
    }
    // As a member of a group that shop is a member of.
    let place = Shared::new();
    place.by("mallory", &format!("SET ROLE staff; {} {grant}", PostgresStore::MIGRATION));
    let error = place.store().load(None).await.unwrap_err();
    assert!(error.to_string().contains(" of staff"), "{error}");

    let place = Shared::new();
    place.by_superuser("ALTER SCHEMA public OWNER TO boss");
    place.by("boss", &format!("{} {grant}", PostgresStore::MIGRATION));
    assert_accepted(&place, "the schema's owner").await;

    let place = Shared::new();
    let database = place.url.rsplit('/').next().unwrap();
    place.by_superuser(&format!("ALTER SCHEMA public OWNER TO postgres; ALTER DATABASE {database} OWNER TO boss"));
    place.by("boss", &format!("{} {grant}", PostgresStore::MIGRATION));
    assert_accepted(&place, "the database's owner").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn the_migration_itself_rejects_what_another_role_made() {
    for (what, statements, named) in attacks().into_iter().filter(|(_, _, named)| named.contains("table ")) {
        let place = Shared::new();
        place.by("mallory", &statements);
        let before = place.tables();
        let mut superuser = sqlx_connection(&place.url).await;
        let error = sqlx::raw_sql(PostgresStore::MIGRATION).execute(&mut superuser).await.unwrap_err().to_string();
        assert!(
            error.contains(" belongs to mallory") && error.contains("nothing was changed"),
            "{what} {named}: {error}"
        );
        assert_eq!(place.tables(), before, "{what}");
        assert!(!place.ran(), "{what}");
    }
}

async fn sqlx_connection(url: &str) -> sqlx::PgConnection {
    <sqlx::PgConnection as sqlx::Connection>::connect(url).await.unwrap()
}

/// Functions and operators that fit the store's statements better than the system's do.
const BETTER_MATCHES: &str = "\
     CREATE FUNCTION convert_to(text, text) RETURNS bytea LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN pg_catalog.convert_to($1, $2::name); END $$; \
     CREATE FUNCTION octet_length(text) RETURNS integer LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN pg_catalog.octet_length($1); END $$; \
     CREATE FUNCTION times(numeric, integer) RETURNS numeric LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN $1 OPERATOR(pg_catalog.*) $2::numeric; END $$; \
     CREATE OPERATOR * (FUNCTION = times, LEFTARG = numeric, RIGHTARG = integer); \
     CREATE FUNCTION is_same(text, text) RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$; \
     CREATE OPERATOR = (FUNCTION = is_same, LEFTARG = text, RIGHTARG = text); \
     CREATE FUNCTION is_same(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$; \
     CREATE OPERATOR = (FUNCTION = is_same, LEFTARG = oid, RIGHTARG = regclass); \
     CREATE FUNCTION is_same(name, text) RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$; \
     CREATE OPERATOR = (FUNCTION = is_same, LEFTARG = name, RIGHTARG = text); \
     CREATE FUNCTION is_same(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$; \
     CREATE OPERATOR = (FUNCTION = is_same, LEFTARG = bigint, RIGHTARG = bigint); \
     CREATE FUNCTION is_less(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN $1 OPERATOR(pg_catalog.<) $2; END $$; \
     CREATE OPERATOR < (FUNCTION = is_less, LEFTARG = bigint, RIGHTARG = bigint); \
     CREATE FUNCTION is_most(integer, integer) RETURNS boolean LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN $1 OPERATOR(pg_catalog.<=) $2; END $$; \
     CREATE OPERATOR <= (FUNCTION = is_most, LEFTARG = integer, RIGHTARG = integer); \
     CREATE FUNCTION set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN pg_catalog.set_config($1, $2, $3); END $$; \
     CREATE FUNCTION current_setting(text) RETURNS text LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN pg_catalog.current_setting($1); END $$; \
     CREATE FUNCTION to_regclass(text) RETURNS regclass LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); RETURN pg_catalog.to_regclass($1); END $$; \
     CREATE FUNCTION pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM public.ran(); END $$; \
     CREATE FUNCTION pg_notify(text, name) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM public.ran(); END $$;";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn functions_and_operators_of_another_role_are_never_a_better_match() {
    // The second path prefers the schema even where the system has the same.
    for path in ["public", "public,pg_catalog"] {
        let place = Shared::new();
        place.by("mallory", &format!("{RAN} {BETTER_MATCHES}"));
        let url = format!("{}?options=-csearch_path%3D{path}", place.url_of("shop"));
        let store = PostgresStore::new(&url).unwrap();
        for _ in 0..2 {
            let errors = use_all(&store).await;
            assert!(errors.is_empty(), "{path}: {errors:?}");
            store.change("x", Change::kill(), &alice()).await.unwrap();
            assert!(store.verify_history().await.unwrap().is_ok());
        }
        assert!(!place.ran(), "{path}");
        // The trap works.
        let mut theirs = sqlx_connection(&url).await;
        sqlx::raw_sql("SELECT convert_to('x', 'UTF8'::text)").execute(&mut theirs).await.unwrap();
        assert!(place.ran(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL, which tests/run.sh installs"]
async fn the_documented_schema_is_one_where_nobody_else_makes_anything() {
    let place = Shared::new();
    let docs = include_str!("../src/store/sql/mod.rs");
    let block = docs.split_once("**A schema of its own**").unwrap().1.split("//! ```").nth(1).unwrap();
    let statements: Vec<&str> = block.lines().skip(1).map(|line| line.trim_start_matches("//!")).collect();
    place.by_superuser(&statements.join("\n"));
    place.by("mallory", &format!("{RAN} {BETTER_MATCHES} {}", PostgresStore::MIGRATION));
    let denied = "DO $$ BEGIN CREATE TABLE flags.tower_flags (); RAISE 'made'; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$";
    place.by("mallory", denied);
    let store = PostgresStore::new(&format!("{}?options=-csearch_path%3Dflags", place.url_of("shop"))).unwrap();
    assert!(use_all(&store).await.is_empty());
    assert_eq!(place.by("shop", "SELECT definition FROM flags.tower_flags"), "true");
    assert!(!place.ran());
    // A name that needs quotes, too.
    let database = place.url.rsplit('/').next().unwrap();
    // In this database alone: other tests have the same role.
    place.by_superuser(&format!(
        "CREATE SCHEMA \"a schema. 'of' \"\"it\"\"\" AUTHORIZATION shop; \
         ALTER ROLE shop IN DATABASE {database} SET search_path = \"a schema. 'of' \"\"it\"\"\""
    ));
    let errors = use_all(&place.store()).await;
    assert!(errors.is_empty(), "{errors:?}");
}
