//! Conditions on requests: `match.exprs`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use super::Network;

/// A condition on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// One value is looked at.
    Comparison(Comparison),
    /// Several conditions are joined.
    Group(Group),
}

/// Conditions that are joined: `AND`, `OR`, `!AND` or `!OR` of APISIX's `vars`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Whether one of the conditions is enough.
    pub any: bool,
    /// Whether the group must not be satisfied.
    pub negated: bool,
    /// The conditions.
    pub of: Box<[Expression]>,
}

/// What one value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Whether the test must fail.
    pub negated: bool,
    /// What is looked at.
    pub subject: Subject,
    /// What it must satisfy.
    pub test: Test,
}

/// The part of a request that a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An argument in the body: of a form, or a value in JSON.
    Body(BodyArgument),
    /// The first cookie of this name, as it was sent.
    Cookie(Arc<str>),
    /// A header by its name in lower case; several fields of the name count as one, joined by `, ` (RFC 9110 section 5.3).
    Header(Arc<str>),
    /// The first argument of this name in the query, decoded as a form's.
    Query(Arc<str>),
    /// What is known of every request.
    Variable(Variable),
}

/// The name of an argument in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyArgument {
    /// The whole name, as forms have it.
    pub name: Arc<str>,
    /// The same as a path into JSON.
    pub path: Box<[Step]>,
}

/// A step into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `[0]`: an element of an array.
    Index(usize),
    /// A member of an object.
    Key(Arc<str>),
}

impl BodyArgument {
    /// Reads `user`, `user.name`, `messages[0].text`; `None` for what is no such path.
    pub fn parse(name: &str) -> Option<Self> {
        let mut path = Vec::new();
        for (place, part) in name.split('.').enumerate() {
            let (key, mut indices) = part.split_at(part.find('[').unwrap_or(part.len()));
            match key {
                // An array may stand alone.
                "" if place > 0 || indices.is_empty() => return None,
                "" => {}
                _ if key.contains(']') => return None,
                _ => path.push(Step::Key(key.into())),
            }
            while !indices.is_empty() {
                let (index, rest) = indices.strip_prefix('[')?.split_once(']')?;
                let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
                path.push(Step::Index(index.parse().ok().filter(|_| is_number)?));
                indices = rest;
            }
        }
        Some(Self { name: name.into(), path: path.into() })
    }
}

/// What is known of every request, under nginx's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `host`: in normal form, without the port.
    Host,
    /// `request_method`.
    Method,
    /// `args`: the query as it was sent; missing where there is none.
    Query,
    /// `remote_addr`: the client's address.
    RemoteAddr,
    /// `request_uri`: path and query as they were sent.
    RequestUri,
    /// `scheme`: `http` or `https`.
    Scheme,
    /// `server_port`: the listener's.
    ServerPort,
    /// `uri`: the path in the form that routes see.
    Uri,
}

impl Variable {
    /// Every name, APISIX's and nginx's synonyms included.
    pub const NAMES: [(&'static str, Self); 11] = [
        ("args", Self::Query),
        ("document_uri", Self::Uri),
        ("host", Self::Host),
        ("method", Self::Method),
        ("query_string", Self::Query),
        ("remote_addr", Self::RemoteAddr),
        ("request_method", Self::Method),
        ("request_uri", Self::RequestUri),
        ("scheme", Self::Scheme),
        ("server_port", Self::ServerPort),
        ("uri", Self::Uri),
    ];
}

/// What a value must satisfy. A value that is missing, or that is no number where one is needed, satisfies none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is this text.
    Equal(Arc<str>),
    /// It is a number that is equal to this one.
    EqualNumber(Number),
    /// It is a number above this one.
    Greater(Number),
    /// It is this number or one above.
    GreaterOrEqual(Number),
    /// It is one of these texts.
    In(Box<[Arc<str>]>),
    /// It is an address in one of these networks.
    InNetworks(Box<[Network]>),
    /// It is a number below this one.
    Less(Number),
    /// It is this number or one below.
    LessOrEqual(Number),
    /// The pattern matches somewhere in it.
    Matches(Pattern),
}

/// A finite number.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Number(f64);

impl Eq for Number {} // it is never NaN

impl Number {
    /// Reads a decimal number such as `10`, `-1.5` or `1e3`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        text.trim_ascii().parse().ok().filter(|number: &f64| number.is_finite()).map(Self)
    }
}

/// A regular expression over bytes, as APISIX's are: `\w` and letters without case are those of ASCII.
#[derive(Clone, Debug)]
pub struct Pattern {
    ignores_case: bool,
    regex: Regex,
}

impl Pattern {
    /// The largest compiled pattern, in bytes.
    pub const MAX_SIZE: usize = 1 << 18;

    /// Compiles `text`.
    ///
    /// # Errors
    /// When it is no regular expression, or a larger one than [`Pattern::MAX_SIZE`].
    pub fn new(text: &str, ignores_case: bool) -> Result<Self, regex::Error> {
        let mut builder = RegexBuilder::new(text);
        builder.case_insensitive(ignores_case).unicode(false);
        builder.size_limit(Self::MAX_SIZE).dfa_size_limit(Self::MAX_SIZE);
        Ok(Self { ignores_case, regex: builder.build()? })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.ignores_case == other.ignores_case && self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for Pattern {}

impl Expression {
    /// Whether a request satisfies the condition, of which `value` says what its subjects have.
    pub fn holds<'v>(&self, value: &impl Fn(&Subject) -> Option<Cow<'v, [u8]>>) -> bool {
        match self {
            Self::Comparison(comparison) => comparison.matches(value(&comparison.subject).as_deref()),
            Self::Group(Group { any: true, negated, of }) => of.iter().any(|one| one.holds(value)) != *negated,
            Self::Group(Group { any: false, negated, of }) => of.iter().all(|one| one.holds(value)) != *negated,
        }
    }

    /// Every comparison in it.
    pub fn comparisons(&self) -> Vec<&Comparison> {
        match self {
            Self::Comparison(comparison) => vec![comparison],
            Self::Group(group) => group.of.iter().flat_map(Self::comparisons).collect(),
        }
    }
}

impl Comparison {
    /// Whether a request whose subject has `value` satisfies the condition. A subject that is missing satisfies the
    /// negated conditions alone, as in APISIX.
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        value.is_some_and(|value| self.test.holds(value)) != self.negated
    }
}

impl Test {
    fn holds(&self, value: &[u8]) -> bool {
        let number = || Number::parse(std::str::from_utf8(value).ok()?);
        match self {
            Self::Equal(text) => text.as_bytes() == value,
            Self::EqualNumber(other) => number() == Some(*other),
            Self::Greater(limit) => number().is_some_and(|number| number > *limit),
            Self::GreaterOrEqual(limit) => number().is_some_and(|number| number >= *limit),
            Self::In(texts) => texts.iter().any(|text| text.as_bytes() == value),
            Self::InNetworks(networks) => {
                let address = std::str::from_utf8(value).ok().and_then(|text| text.parse::<IpAddr>().ok());
                address.is_some_and(|address| networks.iter().any(|network| network.contains(address.to_canonical())))
            }
            Self::Less(limit) => number().is_some_and(|number| number < *limit),
            Self::LessOrEqual(limit) => number().is_some_and(|number| number <= *limit),
            Self::Matches(pattern) => pattern.regex.is_match(value),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Comparison(comparison) => comparison.fmt(f),
            Self::Group(Group { any, negated, of }) => {
                let join = if *any { " OR " } else { " AND " };
                let of: Vec<_> = of.iter().map(Self::to_string).collect();
                write!(f, "{}({})", if *negated { "NOT " } else { "" }, of.join(join))
            }
        }
    }
}

impl fmt::Display for Comparison {
    /// As the object has it: `Header x-version NotEqual "2"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.subject)?;
        let not = if self.negated { "Not" } else { "" };
        match &self.test {
            Test::Equal(text) => write!(f, "{not}Equal {text:?}"),
            Test::EqualNumber(Number(number)) => write!(f, "{not}Equal {number}"),
            Test::Greater(Number(limit)) => write!(f, "{not}GreaterThan {limit}"),
            Test::GreaterOrEqual(Number(limit)) => write!(f, "{not}GreaterThanEqual {limit}"),
            Test::In(texts) => write!(f, "{not}In {texts:?}"),
            Test::InNetworks(networks) => {
                let networks: Vec<_> = networks.iter().map(Network::to_string).collect();
                write!(f, "{not}In {}", networks.join(", "))
            }
            Test::Less(Number(limit)) => write!(f, "{not}LessThan {limit}"),
            Test::LessOrEqual(Number(limit)) => write!(f, "{not}LessThanEqual {limit}"),
            Test::Matches(Pattern { ignores_case, regex }) => {
                let case = if *ignores_case { "CaseInsensitive" } else { "" };
                write!(f, "Regex{not}Match{case} {:?}", regex.as_str())
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(argument) => write!(f, "Body {}", argument.name),
            Self::Cookie(name) => write!(f, "Cookie {name}"),
            Self::Header(name) => write!(f, "Header {name}"),
            Self::Query(name) => write!(f, "Query {name}"),
            Self::Variable(Variable::Uri) => f.write_str("Path"),
            Self::Variable(variable) => {
                let name = Variable::NAMES.iter().find(|(_, known)| known == variable).map_or("", |(name, _)| name);
                write!(f, "Variable {name}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(test: Test, negated: bool) -> Comparison {
        Comparison { negated, subject: Subject::Header("x".into()), test }
    }

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn each_test_holds_for_its_values_and_its_negation_for_all_others() {
        let pattern = |text: &str, ignores_case| Test::Matches(Pattern::new(text, ignores_case).unwrap());
        for (test, holds, fails) in [
            (Test::Equal("10".into()), &["10"][..], &["10.0", "1", "", "010"][..]),
            (Test::Equal("".into()), &[""], &["a"]),
            (Test::EqualNumber(number("10")), &["10", "10.0", " 1e1"], &["1", "", "ten"]),
            (Test::Greater(number("10")), &["10.5", "11", " 11 ", "1e2"], &["10", "9", "", "a", "11a", "inf", "NaN"]),
            (Test::GreaterOrEqual(number("10")), &["10", "10.0", "11"], &["9", "", "a"]),
            (Test::Less(number("-1")), &["-2", "-1.5"], &["-1", "0", "", "-inf"]),
            (Test::LessOrEqual(number("10")), &["10", "-1"], &["11", "a"]),
            (Test::In(["a".into(), "b".into()].into()), &["a", "b"], &["A", "ab", ""]),
            (
                Test::InNetworks([Network::parse("10.0.0.0/8").unwrap(), Network::parse("::1").unwrap()].into()),
                &["10.1.2.3", "::1", "::ffff:10.0.0.1"],
                &["11.0.0.1", "::2", "a", ""],
            ),
            (pattern("^a+$", false), &["a", "aa"], &["A", "ab", ""]),
            (pattern("b", false), &["abc"], &["ABC"]),
            (pattern("^a", true), &["ab", "AB"], &["ba"]),
        ] {
            for (values, expected) in [(holds, true), (fails, false)] {
                for value in values {
                    assert_eq!(
                        header(test.clone(), false).matches(Some(value.as_bytes())),
                        expected,
                        "{test:?} {value}"
                    );
                    assert_eq!(
                        header(test.clone(), true).matches(Some(value.as_bytes())),
                        !expected,
                        "{test:?} {value}"
                    );
                }
            }
            assert!(!header(test.clone(), false).matches(None), "{test:?}");
            assert!(header(test.clone(), true).matches(None), "{test:?}");
        }
    }

    #[test]
    fn the_name_of_an_argument_is_a_path() {
        let key = |text: &str| Step::Key(text.into());
        for (name, expected) in [
            ("a", vec![key("a")]),
            ("a_b-c d", vec![key("a_b-c d")]),
            ("a.b[0][12].c", vec![key("a"), key("b"), Step::Index(0), Step::Index(12), key("c")]),
            ("[1].a", vec![Step::Index(1), key("a")]),
        ] {
            assert_eq!(*BodyArgument::parse(name).unwrap().path, expected, "{name}");
        }
        for name in ["", ".", "a.", ".a", "a..b", "a[*]", "a[", "a]", "a[]", "a[+1]", "a[-1]", "a[1]b", "a.[1]", "a[1"]
        {
            assert_eq!(BodyArgument::parse(name), None, "{name}");
        }
    }

    #[test]
    fn values_are_bytes() {
        let any = header(Test::Matches(Pattern::new("^.$", false).unwrap()), false);
        assert!(any.matches(Some(b"\xff")));
        assert!(!header(Test::Greater(number("0")), false).matches(Some(b"\xff")));
    }

    #[test]
    fn patterns_are_limited_and_compared_by_their_text() {
        assert!(Pattern::new("(a{100}){100}{100}", false).is_err());
        assert!(Pattern::new("(?=a)", false).is_err());
        assert_eq!(Pattern::new("a", true).unwrap(), Pattern::new("a", true).unwrap());
        assert_ne!(Pattern::new("a", true).unwrap(), Pattern::new("a", false).unwrap());
    }

    #[test]
    fn a_condition_is_shown_as_it_is_written() {
        let pattern = Pattern::new("a\"", true).unwrap();
        assert_eq!(header(Test::Matches(pattern), true).to_string(), r#"Header x RegexNotMatchCaseInsensitive "a\"""#);
        assert_eq!(header(Test::In(["a".into()].into()), true).to_string(), r#"Header x NotIn ["a"]"#);
        let scheme = Subject::Variable(Variable::Scheme);
        let scheme = Comparison { negated: false, subject: scheme, test: Test::LessOrEqual(number("1")) };
        assert_eq!(scheme.to_string(), "Variable scheme LessThanEqual 1");
    }

    #[test]
    fn a_group_joins_conditions() {
        let one = |name: &str| {
            let subject = Subject::Header(name.into());
            Expression::Comparison(Comparison { negated: false, subject, test: Test::Equal("1".into()) })
        };
        let group = |any, negated| Expression::Group(Group { any, negated, of: [one("a"), one("b")].into() });
        let value = |present: &'static [&str]| {
            move |subject: &Subject| match subject {
                Subject::Header(name) => present.contains(&&**name).then_some(Cow::Borrowed(&b"1"[..])),
                _ => None,
            }
        };
        for (expression, shown, none, either, both) in [
            (group(false, false), "(Header a Equal \"1\" AND Header b Equal \"1\")", false, false, true),
            (group(true, false), "(Header a Equal \"1\" OR Header b Equal \"1\")", false, true, true),
            (group(false, true), "NOT (Header a Equal \"1\" AND Header b Equal \"1\")", true, true, false),
            (group(true, true), "NOT (Header a Equal \"1\" OR Header b Equal \"1\")", true, false, false),
        ] {
            assert_eq!(expression.to_string(), shown);
            let held = [&[][..], &["b"], &["a", "b"]].map(|present| expression.holds(&value(present)));
            assert_eq!(held, [none, either, both], "{shown}");
            assert_eq!(expression.comparisons().len(), 2);
        }
    }
}
