//! A row of the table of routes.

use super::access::Role;
use super::call::{Answer, Call};
use crate::store::BoxFuture;

/// One thing that can be asked.
pub(super) struct Route {
    pub(super) method: &'static str,
    /// Below where the router is nested; `{name}` stands for a flag's name.
    pub(super) path: &'static str,
    pub(super) needs: Role,
    /// Parameters of the URL.
    pub(super) query: &'static [&'static str],
    pub(super) handler: fn(Call) -> BoxFuture<'static, Answer>,
}

impl Route {
    /// What it does, in a word: `put`, `kill`, `rollout/start`, `import`.
    pub(super) fn action(&self) -> &'static str {
        match (self.method, self.path.strip_prefix("flags/{name}")) {
            ("PUT", Some("")) => "put",
            ("PATCH", Some("")) => "patch",
            ("DELETE", Some("")) => "delete",
            (_, Some(rest)) => rest.trim_start_matches('/'),
            (_, None) => self.path,
        }
    }

    /// What stands for `{name}`, empty where nothing does; `None` where the path is another.
    pub(super) fn matched<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut name = "";
        let (mut expected, mut found) = (self.path.split('/'), path.split('/'));
        loop {
            match (expected.next(), found.next()) {
                (None, None) => return Some(name),
                (Some("{name}"), Some(segment)) if !segment.is_empty() => name = segment,
                (Some(expected), Some(segment)) if expected == segment => {}
                _ => return None,
            }
        }
    }
}

/// A row of a table of routes.
macro_rules! route {
    ($method:literal, $path:literal, $needs:ident, [$($query:literal),*], $handler:path) => {
        $crate::admin::route::Route {
            method: $method,
            path: $path,
            needs: $crate::admin::access::Role::$needs,
            query: &[$($query),*],
            handler: |call| Box::pin($handler(call)),
        }
    };
}
pub(super) use route;

#[cfg(test)]
mod tests {
    use crate::admin::rollout;
    use crate::admin::router::ROUTES;

    #[test]
    fn a_name_is_one_segment_of_the_path() {
        let kill = ROUTES.iter().find(|route| route.path == "flags/{name}/kill").unwrap();
        assert_eq!(kill.matched("flags/a.b/kill"), Some("a.b"));
        assert_eq!(ROUTES[0].matched("flags"), Some(""));
        for other in ["flags//kill", "flags/a/kill/", "flags/a/b/kill", "flag/a/kill", "flags/a", ""] {
            assert_eq!(kill.matched(other), None, "{other}");
        }
        assert!(rollout::ROUTES.iter().all(|route| route.matched("flags/a/kill").is_none()));
    }
}
