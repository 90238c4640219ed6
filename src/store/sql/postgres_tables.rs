//! The store's tables in PostgreSQL: found, locked and checked before anything is read or written.
//!
//! A role that may create objects in the schema can make these tables before we do, with a trigger, or a view in their
//! place. Code in them would run with the rights of this role. Therefore each transaction, before its first statement on
//! the tables:
//!
//! 1. **finds** the schema, once, by the search path of the session. All later statements name it, and take functions and
//!    operators from `pg_catalog`: a schema in the path may have a better match for an unqualified one.
//! 2. **locks** the tables, so that nothing about them changes until the transaction ends.
//! 3. **checks** who owns the tables; the functions, types and operators that their triggers, rules, policies,
//!    constraints, defaults, indexes and columns use; tables that inherit from them; and tables whose foreign keys
//!    refer to them, since these run triggers too. Only the owner of a table can add any of that, or whom the owner lets.
//!
//! A role is trusted if it can act as one of three anyway: as the role of this session, as the owner of the schema, or as
//! the owner of the database, who can send the session to any schema. Superusers can act as all. A role that *this* one
//! is a member of is not trusted for that: all its members could make objects as it.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::lease::{ANSWER, late};
use super::trouble::Trouble;
use crate::store::{Error, ErrorKind};

/// In an unknown search path.
const FIND: &str = "SELECT n.oid::pg_catalog.int8, pg_catalog.quote_ident(n.nspname), \
     pg_catalog.to_regclass('tower_flags') IS NOT NULL FROM pg_catalog.pg_namespace n \
     WHERE n.oid OPERATOR(pg_catalog.=) coalesce(\
         (SELECT c.relnamespace FROM pg_catalog.pg_class c \
             WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('tower_flags')::pg_catalog.oid), \
         (SELECT s.oid FROM pg_catalog.pg_namespace s WHERE s.nspname OPERATOR(pg_catalog.=) pg_catalog.current_schema()))";

/// Where nothing but `pg_catalog` is searched.
const FOREIGN: &str = include_str!("postgres_foreign.sql");

/// The schema that the tables are in, or have to be made in.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) oid: i64,
    /// In quotes where it needs them.
    pub(super) name: String,
}

/// The use that a transaction makes of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadFlags,
    ReadHistory,
    Write,
}

impl Access {
    fn tables(self) -> &'static [&'static str] {
        match self {
            Self::ReadFlags => &["tower_flags_head", "tower_flags", "tower_flags_versions"],
            Self::ReadHistory => &["tower_flags_history"],
            Self::Write => &ALL,
        }
    }

    fn mode(self) -> &'static str {
        match self {
            Self::ReadFlags | Self::ReadHistory => "ACCESS SHARE",
            // No trigger can be added meanwhile.
            Self::Write => "ROW EXCLUSIVE",
        }
    }
}

const ALL: [&str; 4] = ["tower_flags_head", "tower_flags", "tower_flags_versions", "tower_flags_history"];

/// The tables of one transaction, locked and checked.
#[derive(Debug)]
pub(super) struct Tables {
    /// Before the name of a table.
    prefix: String,
}

impl Schema {
    /// `None` if the search path leads to no schema.
    pub(super) async fn find(connection: &mut PgConnection) -> Result<Option<Self>, Trouble> {
        let row = late(ANSWER, sqlx::query(FIND).fetch_optional(connection)).await?;
        row.map(|row| Ok(Self { oid: row.try_get(0)?, name: row.try_get(1)? })).transpose()
    }

    fn foreign(&self, tables: &[&str], makes_function: bool) -> String {
        let tables = tables.iter().map(|table| format!("'{table}'")).collect::<Vec<_>>().join(", ");
        // Comments in it reach to the ends of their lines.
        FOREIGN
            .replace(":schema", &self.oid.to_string())
            .replace(":tables", &tables)
            .replace(":makes_function", if makes_function { "true" } else { "false" })
    }
}

impl Tables {
    /// Begins to use the tables in a transaction, which has done nothing else.
    pub(super) async fn locked(store: &str, connection: &mut PgConnection, access: Access) -> Result<Self, Trouble> {
        let schema = Schema::find(connection).await?;
        let prefix = schema.as_ref().map(|schema| format!("{}.", schema.name)).unwrap_or_default();
        let tables = access.tables();
        let names = tables.iter().map(|table| format!("{prefix}{table}")).collect::<Vec<_>>().join(", ");
        let check = schema.as_ref().map(|schema| in_catalog(&schema.foreign(tables, false))).unwrap_or_default();
        let lock = format!("SAVEPOINT tower_flags_lock; LOCK TABLE {names} IN {} MODE", access.mode());
        let release = "RELEASE SAVEPOINT tower_flags_lock";
        match foreign(store, connection, format!("{lock}; {check}; {release}")).await {
            // Another role's object may be no table, or lack the permissions. They should not be granted.
            Err(trouble) if trouble.has_code(&["42809", "42501"]) => {
                foreign(store, connection, format!("ROLLBACK TO SAVEPOINT tower_flags_lock; {check}")).await?;
                Err(trouble)
            }
            checked => checked.map(|()| Self { prefix }),
        }
    }

    /// A statement on the tables, which it calls `schema.tower_flags` and so on. In it `==` is the system's own `=`.
    pub(super) fn sql(&self, statement: &str) -> AssertSqlSafe<String> {
        let statement = statement.replace(" == ", " OPERATOR(pg_catalog.=) ");
        AssertSqlSafe(statement.replace("schema.", &self.prefix))
    }
}

/// Checks what is there before the missing tables are made.
pub(super) async fn check_before_making(store: &str, connection: &mut PgConnection) -> Result<(), Trouble> {
    match Schema::find(connection).await? {
        Some(schema) => foreign(store, connection, in_catalog(&schema.foreign(&ALL, true))).await,
        None => Ok(()),
    }
}

/// Runs a query with nothing but the system's own objects in the search path, which stays as it was.
fn in_catalog(query: &str) -> String {
    format!(
        "SAVEPOINT tower_flags_check; SET LOCAL search_path = pg_catalog, pg_temp; {query}; \
         ROLLBACK TO SAVEPOINT tower_flags_check; RELEASE SAVEPOINT tower_flags_check"
    )
}

async fn foreign(store: &str, connection: &mut PgConnection, statements: String) -> Result<(), Trouble> {
    let rows = late(ANSWER, sqlx::raw_sql(AssertSqlSafe(statements)).fetch_all(connection)).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let text = |column: usize| row.try_get::<String, _>(column);
    let (kind, object, place, owner) = (text(0)?, text(1)?, text(2)?, text(3)?);
    let (us, schema, schema_owner, database_owner) = (text(4)?, text(5)?, text(6)?, text(7)?);
    let others = match rows.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let message = format!(
        "{store}: expected objects of {us}, of {schema_owner}, who owns the schema {schema}, or of {database_owner}, \
         who owns the database, found the {} {object}{place} of {owner}{others}, whose code would run as {us}; \
         nothing was read or changed; keep the flags in a schema of their own, as tower_flags::store::sql says, or \
         check the object and run ALTER {kind} {object} OWNER TO {us}",
        kind.to_lowercase()
    );
    Err(Error::new(ErrorKind::Configuration, message).into())
}
