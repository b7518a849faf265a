//! Many routes: what one look-up looks at. What it takes is measured by `cargo bench --bench routing`.

use super::*;

const MANY: usize = 20_000;

/// One object with a rule for each host and path.
fn bench(rules: impl Iterator<Item = (String, String)>) -> Bench {
    let mut bench = Bench::new();
    let rules = rules.enumerate().map(|(index, (host, path))| rule(&index.to_string(), &host, &path, &[("s", 1)]));
    bench.put("s", service(ServiceAddress::Headless)).put("s1", slice("s", &[1])).put("r", route(1, rules.collect()));
    bench.compile();
    bench
}

/// How many hosts' tables cover `host`, and the names of the routes that are tried for `path`.
fn looked_at(bench: &Bench, host: &str, path: &str) -> (usize, Vec<String>) {
    let host = HostName::parse(host).unwrap();
    let tables: Vec<_> = bench.snapshot.routes.covering(&host).collect();
    let routes = tables.iter().flat_map(|table| table.candidates(path)).map(|route| route.name.to_string());
    (tables.len(), routes.collect())
}

#[test]
fn of_many_routes_on_one_host_only_those_for_the_path_are_looked_at() {
    let paths = (0..MANY).map(|n| if n % 2 == 0 { format!("/{n}/*") } else { format!("/{n}") });
    let bench = bench(paths.map(|path| ("a.test".to_owned(), path)));
    assert_eq!(looked_at(&bench, "a.test", "/16384/x"), (1, vec!["ns/r/16384".to_owned()]));
    assert_eq!(looked_at(&bench, "a.test", "/19999"), (1, vec!["ns/r/19999".to_owned()]));
    assert_eq!(looked_at(&bench, "a.test", "/20000"), (1, Vec::new()));
}

#[test]
fn of_many_hosts_only_those_that_cover_the_requests_host_are_looked_at() {
    let hosts = (0..MANY).map(|n| if n % 2 == 0 { format!("h{n}.test") } else { format!("*.h{n}.test") });
    let bench = bench(hosts.map(|host| (host, "/*".to_owned())));
    assert_eq!(looked_at(&bench, "h16384.test", "/"), (1, vec!["ns/r/16384".to_owned()]));
    assert_eq!(looked_at(&bench, "a.b.h19999.test", "/"), (1, vec!["ns/r/19999".to_owned()]));
    assert_eq!(looked_at(&bench, "h20000.test", "/"), (0, Vec::new()));
}
