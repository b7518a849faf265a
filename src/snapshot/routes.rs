//! The routes of one host, sorted when compiled and scanned when read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Backends;
use crate::model::{Methods, PathPattern, Timeouts};

/// One rule of a route object, ready to serve.
#[derive(Debug)]
pub struct Route {
    /// Where the traffic goes.
    pub backends: Backends,
    /// The methods served.
    pub methods: Methods,
    /// `namespace/object/rule`, for logs and metrics.
    pub name: Arc<str>,
    /// Counters; they survive recompilation.
    pub stats: Arc<RouteStats>,
    /// Deadlines toward upstreams that have none of their own.
    pub timeouts: Timeouts,
    /// Whether `Upgrade: websocket` is passed on.
    pub websocket: bool,
}

/// Requests of a route by the class of their status: index 0 for 1xx, up to 4 for 5xx.
#[derive(Debug, Default)]
pub struct RouteStats {
    by_class: [AtomicU64; 5],
}

impl RouteStats {
    /// Counts a finished request.
    pub fn count(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.by_class[class].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far, 1xx to 5xx.
    pub fn counts(&self) -> [u64; 5] {
        std::array::from_fn(|class| self.by_class[class].load(Ordering::Relaxed))
    }
}

/// The routes that one host pattern has.
#[derive(Clone, Debug, Default)]
pub struct HostRoutes {
    exact: HashMap<Arc<str>, Vec<Arc<Route>>>,
    /// Longest prefix first; equal prefixes in the order of precedence.
    prefixes: Vec<(Arc<str>, Arc<Route>)>,
}

impl HostRoutes {
    /// Builds the table from routes in their order of precedence: among routes with the same path, earlier wins.
    pub fn new(routes: impl IntoIterator<Item = (PathPattern, Arc<Route>)>) -> Self {
        let mut table = Self::default();
        for (path, route) in routes {
            match path {
                PathPattern::Exact(path) => table.exact.entry(path).or_default().push(route),
                PathPattern::Prefix(prefix) => table.prefixes.push((prefix, route)),
            }
        }
        table.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len())); // stable: precedence is kept
        table
    }

    /// The first route that serves the request: exact paths, then prefixes from long to short; a route that does not serve
    /// the method lets the next one try (APISIX R2, R5).
    pub fn find(&self, method: &str, path: &str) -> Option<&Arc<Route>> {
        let exact = self.exact.get(path).into_iter().flatten();
        let prefixes = self.prefixes.iter().filter(|(prefix, _)| path.starts_with(&**prefix)).map(|(_, route)| route);
        exact.chain(prefixes).find(|route| route.methods.contains(method))
    }

    /// Every path with its route, exact paths sorted first, for dumps and metrics.
    pub fn iter(&self) -> impl Iterator<Item = (PathPattern, &Arc<Route>)> {
        let mut exact: Vec<_> = self.exact.iter().collect();
        exact.sort_by(|a, b| a.0.cmp(b.0));
        let exact = exact
            .into_iter()
            .flat_map(|(path, routes)| routes.iter().map(move |route| (PathPattern::Exact(path.clone()), route)));
        exact.chain(self.prefixes.iter().map(|(prefix, route)| (PathPattern::Prefix(prefix.clone()), route)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, methods: Methods) -> Arc<Route> {
        Arc::new(Route {
            backends: Backends::default(),
            methods,
            name: name.into(),
            stats: Arc::default(),
            timeouts: Timeouts::default(),
            websocket: false,
        })
    }

    #[test]
    fn exact_beats_long_prefix_beats_short_prefix_and_methods_fall_through() {
        let get = Methods::NONE.with("GET").unwrap();
        let paths = [("/*", Methods::ANY), ("/a/*", Methods::ANY), ("/a/b", get), ("/a/b", Methods::ANY)];
        let table =
            HostRoutes::new(paths.iter().enumerate().map(|(index, (path, methods))| {
                (PathPattern::parse(path).unwrap(), route(&index.to_string(), *methods))
            }));
        let find = |method: &str, path: &str| table.find(method, path).map(|route| route.name.to_string());
        assert_eq!(find("GET", "/a/b").as_deref(), Some("2"));
        assert_eq!(find("PUT", "/a/b").as_deref(), Some("3"));
        assert_eq!(find("GET", "/a/bc").as_deref(), Some("1"));
        assert_eq!(find("GET", "/a").as_deref(), Some("0"), "`/a/*` does not cover `/a`");
    }
}
