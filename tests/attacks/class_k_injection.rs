//! Class K: texts of objects that become part of a configuration (ingress-nginx CVE-2025-1974 and CVE-2025-1097). There is no
//! template here; what is no host or no expression is refused by name.

use crate::attacker::Attacker;
use crate::objects::{client_tls, tls, trusts};
use crate::stage::Stage;

#[tokio::test]
async fn class_k_a_host_that_is_none_is_refused_by_itself() {
    let stage = Stage::new([tls("open", &["open.test"])]).await;
    for host in [
        "a.test\nb.test",
        "a.test\0.evil.test",
        "a.test\"; return 200; #",
        "a.test;}",
        "a b.test",
        "${jndi:x}.test",
        "{{.Host}}.test",
        "a..test",
        ".a.test",
        "*",
        "*a.test",
        "a.*.test",
        "a.test:443",
        "user@a.test",
        "b\u{fc}cher.test",
        "127.0.0.1/8",
        "",
    ] {
        stage.apply([client_tls("bad", &["good.test", host], trusts("clients"))]);
        let problems = stage.problems("bad");
        assert!(problems[0].starts_with("spec.hosts[1]: "), "{host:?}: {problems:?}");
        assert!(!problems[0].contains('\n'), "{host:?}: {problems:?}");
        let none = Attacker::new(&rustls::version::TLS13, "h2", None);
        assert_eq!(none.status(stage.https, "good.test", "good.test").await, Some(400), "{host:?}: the other host");
    }
    assert_eq!(stage.passed(), 0);
}
