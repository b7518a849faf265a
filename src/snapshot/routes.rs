//! The routes of one host, sorted when compiled and scanned when read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;

use super::{Backends, RequestFacts};
use crate::model::{Conditions, Expression, Methods, PathPattern, Timeouts};

/// One rule of a route object, ready to serve.
#[derive(Debug)]
pub struct Route {
    /// Where the traffic goes.
    pub backends: Backends,
    /// What else a request must satisfy.
    pub conditions: Arc<Conditions>,
    /// The methods served.
    pub methods: Methods,
    /// `namespace/object/rule`, for logs and metrics.
    pub name: Arc<str>,
    /// Counters; they survive recompilation.
    pub stats: Arc<RouteStats>,
    /// What is taken off the beginning of the path toward the upstream.
    pub strip: Option<Arc<str>>,
    /// Deadlines toward upstreams that have none of their own.
    pub timeouts: Timeouts,
    /// Whether `Upgrade: websocket` is passed on.
    pub websocket: bool,
}

/// Why a route whose host and path cover a request does not serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// The client's address is in none of the networks.
    Address,
    /// A condition is not satisfied.
    Expression(&'a Expression),
    /// The method is not served.
    Method,
}

impl Route {
    /// Why the route does not serve a request that its host and path cover; `None` where it does.
    pub fn mismatch(&self, request: &RequestFacts<'_>) -> Option<Mismatch<'_>> {
        if !self.methods.contains(request.method) {
            return Some(Mismatch::Method);
        }
        let Conditions { expressions, networks } = &*self.conditions;
        if !networks.is_empty() && !networks.iter().any(|network| network.contains(request.peer)) {
            return Some(Mismatch::Address);
        }
        let value = |subject: &_| request.value(subject);
        expressions.iter().find(|expression| !expression.holds(&value)).map(Mismatch::Expression)
    }
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

/// Routes by path, or by prefix. Only configuration puts paths in, so nobody can make them collide by what they ask for.
type Paths = HashMap<Arc<str>, Vec<Arc<Route>>, RandomState>;

/// The routes that one host pattern has. A look-up costs one hash for the path and one for each length that a prefix has,
/// whatever the number of routes.
#[derive(Clone, Debug, Default)]
pub struct HostRoutes {
    exact: Paths,
    /// The lengths of the prefixes, longest first.
    lengths: Vec<usize>,
    prefixes: Paths,
}

impl HostRoutes {
    /// Builds the table from routes in their order of precedence: among routes with the same path, earlier wins.
    pub fn new(routes: impl IntoIterator<Item = (PathPattern, Arc<Route>)>) -> Self {
        let mut table = Self::default();
        for (path, route) in routes {
            match path {
                PathPattern::Exact(path) => table.exact.entry(path).or_default().push(route),
                PathPattern::Prefix(prefix) => table.prefixes.entry(prefix).or_default().push(route),
            }
        }
        table.lengths = table.prefixes.keys().map(|prefix| prefix.len()).collect();
        table.lengths.sort_unstable_by(|a, b| b.cmp(a));
        table.lengths.dedup();
        table
    }

    /// The first route that serves the request: exact paths, then prefixes from long to short; a route with a
    /// [`Route::mismatch`] lets the next one try (APISIX R2, R5).
    pub fn find(&self, request: &RequestFacts<'_>) -> Option<&Arc<Route>> {
        self.candidates(request.path).find(|route| route.mismatch(request).is_none())
    }

    /// The routes whose paths cover `path`, in the order in which they are tried.
    pub fn candidates<'a, 'p>(&'a self, path: &'p str) -> impl Iterator<Item = &'a Arc<Route>> + use<'a, 'p> {
        let exact = self.exact.get(path);
        let prefixes = self.lengths.iter().filter_map(|length| self.prefixes.get(path.get(..*length)?));
        exact.into_iter().chain(prefixes).flatten()
    }

    /// Every path with its route, exact paths sorted first, then prefixes from long to short, for dumps and metrics.
    pub fn iter(&self) -> impl Iterator<Item = (PathPattern, &Arc<Route>)> {
        let mut exact: Vec<_> = self.exact.iter().collect();
        exact.sort_by(|a, b| a.0.cmp(b.0));
        let mut prefixes: Vec<_> = self.prefixes.iter().collect();
        prefixes.sort_by_key(|(prefix, _)| (std::cmp::Reverse(prefix.len()), *prefix));
        let exact = exact.into_iter().map(|(path, routes)| (PathPattern::Exact(path.clone()), routes));
        let prefixes = prefixes.into_iter().map(|(prefix, routes)| (PathPattern::Prefix(prefix.clone()), routes));
        exact.chain(prefixes).flat_map(|(path, routes)| routes.iter().map(move |route| (path.clone(), route)))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::model::HostName;

    fn route(name: &str, methods: Methods) -> Arc<Route> {
        Arc::new(Route {
            backends: Backends::default(),
            conditions: Arc::default(),
            methods,
            name: name.into(),
            stats: Arc::default(),
            strip: None,
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
        let host = HostName::parse("a.test").unwrap();
        let headers = HeaderMap::new();
        let find = |method: &str, path: &str| {
            let (port, target, query) = (&b"80"[..], path, None);
            let peer = [127, 0, 0, 1].into();
            let facts = RequestFacts {
                body: &super::super::FormBody::None,
                encrypted: false,
                headers: &headers,
                host: &host,
                method,
                path,
                peer,
                port,
                query,
                target,
            };
            table.find(&facts).map(|route| route.name.to_string())
        };
        assert_eq!(find("GET", "/a/b").as_deref(), Some("2"));
        assert_eq!(find("PUT", "/a/b").as_deref(), Some("3"));
        assert_eq!(find("GET", "/a/bc").as_deref(), Some("1"));
        assert_eq!(find("GET", "/a").as_deref(), Some("0"), "`/a/*` does not cover `/a`");
    }
}
