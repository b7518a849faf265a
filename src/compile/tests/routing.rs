//! The compiled tables beside a matcher that looks at every rule.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::model::{Comparison, Conditions, Expression, Network, Pattern, Subject, Test, Variable};
use crate::snapshot::RequestFacts;

/// Numbers that look random and are the same in every run (xorshift64, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn some<T: Copy>(&mut self, choices: &[T], most: usize) -> Vec<T> {
        (0..=self.below(most)).map(|_| self.of(choices)).collect()
    }
}

const HOSTS: [&str; 8] = ["any", "a.test", "b.a.test", "c.b.a.test", "*.test", "*.a.test", "*.b.a.test", "b.test"];
const PATHS: [&str; 9] = ["/*", "/a", "/a*", "/a/*", "/a/b", "/a/b*", "/b", "/b/*", "/a/b/c*"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];

/// A condition, with what it means.
#[derive(Clone, Copy, Debug)]
enum Condition {
    From(&'static str),
    HeaderAbove(u8),
    HeaderIs(&'static str),
    HeaderIsNot(&'static str),
    QueryIsNone(&'static [&'static str]),
    Secure(bool),
}

const CONDITIONS: [Condition; 8] = [
    Condition::From("10.0.0."),
    Condition::From("2001:db8::"),
    Condition::HeaderAbove(1),
    Condition::HeaderIs("1"),
    Condition::HeaderIsNot("1"),
    Condition::QueryIsNone(&["1", "2"]),
    Condition::Secure(true),
    Condition::Secure(false),
];

/// A rule, as the reference sees it.
#[derive(Debug)]
struct Plain {
    conditions: Vec<Condition>,
    created: i64,
    hosts: Vec<&'static str>,
    index: usize,
    methods: Vec<&'static str>,
    object: String,
    paths: Vec<&'static str>,
    priority: i64,
}

#[derive(Debug)]
struct Asked {
    encrypted: bool,
    header: Option<&'static str>,
    host: &'static str,
    method: &'static str,
    path: &'static str,
    peer: &'static str,
    query: Option<&'static str>,
}

impl Condition {
    fn add(self, expressions: &mut Vec<Expression>, networks: &mut Vec<Network>) {
        let header = || Subject::Header("x".into());
        let (subject, test, negated) = match self {
            Self::From(start) => {
                let block = if start.contains(':') { format!("{start}/32") } else { format!("{start}0/24") };
                networks.push(Network::parse(&block).unwrap());
                return;
            }
            Self::HeaderAbove(limit) => {
                let number = crate::model::Number::parse(&limit.to_string()).unwrap();
                (header(), Test::Greater(number), false)
            }
            Self::HeaderIs(text) => (header(), Test::Equal(text.into()), false),
            Self::HeaderIsNot(text) => (header(), Test::Equal(text.into()), true),
            Self::QueryIsNone(texts) => {
                (Subject::Query("q".into()), Test::In(texts.iter().map(|text| Arc::from(*text)).collect()), true)
            }
            Self::Secure(yes) => {
                let pattern = Pattern::new("S$", true).unwrap();
                (Subject::Variable(Variable::Scheme), Test::Matches(pattern), !yes)
            }
        };
        expressions.push(Expression::Comparison(Comparison { negated, subject, test }));
    }

    fn holds(self, asked: &Asked) -> bool {
        match self {
            Self::From(_) => true, // one of them is enough: `Plain::serves`
            Self::HeaderAbove(limit) => asked.header.is_some_and(|text| text.parse().is_ok_and(|n: u8| n > limit)),
            Self::HeaderIs(text) => asked.header == Some(text),
            Self::HeaderIsNot(text) => asked.header != Some(text),
            Self::QueryIsNone(texts) => {
                let value = asked.query.and_then(|query| query.strip_prefix("q="));
                !value.is_some_and(|value| texts.contains(&value))
            }
            Self::Secure(yes) => asked.encrypted == yes,
        }
    }
}

impl Plain {
    fn random(numbers: &mut Numbers, object: usize, index: usize) -> Self {
        let conditions = if numbers.below(2) == 0 { vec![] } else { numbers.some(&CONDITIONS, 3) };
        Self {
            conditions,
            created: 1 + i64::try_from(object % 3).unwrap(),
            hosts: numbers.some(&HOSTS, 2),
            index,
            methods: if numbers.below(2) == 0 { vec![] } else { numbers.some(&METHODS, 2) },
            object: format!("o{object}"),
            paths: numbers.some(&PATHS, 2),
            priority: numbers.of(&[0, 0, 0, -1, 1]),
        }
    }

    fn rule(&self) -> Rule {
        let (mut expressions, mut networks) = (vec![], vec![]);
        for condition in &self.conditions {
            condition.add(&mut expressions, &mut networks);
        }
        let host = |host: &&str| if *host == "any" { HostPattern::Any } else { HostPattern::parse(host).unwrap() };
        let methods = self.methods.iter().fold(Methods::NONE, |set, method| set.with(method).unwrap());
        Rule {
            conditions: Arc::new(Conditions { expressions: expressions.into(), networks: networks.into() }),
            hosts: self.hosts.iter().map(host).collect(),
            methods: if self.methods.is_empty() { Methods::ANY } else { methods },
            paths: self.paths.iter().map(|path| PathPattern::parse(path).unwrap()).collect(),
            priority: self.priority,
            ..rule(&self.index.to_string(), "a.test", "/", &[])
        }
    }

    fn serves(&self, asked: &Asked) -> bool {
        let starts: Vec<_> = self
            .conditions
            .iter()
            .filter_map(|one| if let Condition::From(start) = one { Some(*start) } else { None })
            .collect();
        (self.methods.is_empty() || self.methods.contains(&asked.method))
            && (starts.is_empty() || starts.iter().any(|start| asked.peer.starts_with(start)))
            && self.conditions.iter().all(|condition| condition.holds(asked))
    }

    /// The rule's place among those that serve the request: the greatest wins.
    fn rank(&self, asked: &Asked) -> Option<impl Ord + use<'_>> {
        let exact = usize::MAX;
        let host = self.hosts.iter().filter_map(|host| match host.strip_prefix('*') {
            Some(suffix) => (asked.host.len() > suffix.len() && asked.host.ends_with(suffix)).then_some(suffix.len()),
            None if *host == "any" => Some(0),
            None => (*host == asked.host).then_some(exact),
        });
        let path = self.paths.iter().filter_map(|path| match path.strip_suffix('*') {
            Some(prefix) => asked.path.starts_with(prefix).then_some(prefix.len()),
            None => (*path == asked.path).then_some(exact),
        });
        let place = (host.max()?, path.max()?);
        let age = Reverse((self.created, self.object.as_str(), self.index));
        self.serves(asked).then_some((place, self.priority, age))
    }
}

#[test]
fn the_tables_route_as_a_look_at_every_rule_does() {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut found, mut missed) = (0, 0);
    for _ in 0..60 {
        let mut bench = Bench::new();
        let mut plain = Vec::new();
        for object in 0..=numbers.below(12) {
            let rules: Vec<_> =
                (0..=numbers.below(4)).map(|index| Plain::random(&mut numbers, object, index)).collect();
            bench.put(&rules[0].object, route(rules[0].created, rules.iter().map(Plain::rule).collect()));
            plain.extend(rules);
        }
        bench.compile();
        for _ in 0..200 {
            let asked = Asked {
                encrypted: numbers.below(2) == 0,
                header: numbers.of(&[None, Some("1"), Some("2"), Some("x")]),
                host: numbers.of(&[
                    "a.test",
                    "b.a.test",
                    "c.b.a.test",
                    "d.c.b.a.test",
                    "b.test",
                    "z.test",
                    "test",
                    "z",
                ]),
                method: numbers.of(&["GET", "POST", "DELETE"]),
                path: numbers.of(&["/", "/a", "/ab", "/a/", "/a/b", "/a/bc", "/a/b/cd", "/b", "/b/", "/c"]),
                peer: numbers.of(&["10.0.0.7", "10.0.1.7", "2001:db8::7", "::1"]),
                query: numbers.of(&[None, Some("q=1"), Some("q=3"), Some("r=1")]),
            };
            let mut headers = HeaderMap::new();
            headers
                .extend(asked.header.map(|text| (http::HeaderName::from_static("x"), HeaderValue::from_static(text))));
            let facts = RequestFacts {
                body: &crate::snapshot::FormBody::None,
                encrypted: asked.encrypted,
                headers: &headers,
                host: &HostName::parse(asked.host).unwrap(),
                method: asked.method,
                path: asked.path,
                peer: asked.peer.parse().unwrap(),
                port: b"80",
                query: asked.query,
                target: asked.path,
            };
            let ranked = plain.iter().filter_map(|rule| Some((rule.rank(&asked)?, rule)));
            let expected = ranked.max_by(|one, other| one.0.cmp(&other.0)).map(|(_, rule)| rule);
            let expected = expected.map(|rule| format!("ns/{}/{}", rule.object, rule.index));
            let actual = bench.snapshot.route(&facts).map(|route| route.name.to_string());
            assert_eq!(actual, expected, "{asked:?} among {plain:#?}");
            if actual.is_some() { found += 1 } else { missed += 1 }
        }
    }
    assert!(found > 3000 && missed > 1000, "both outcomes are common: {found} found, {missed} missed");
}
