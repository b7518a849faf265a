//! The arguments of a call.

use std::time::Duration;

use super::answer::Failure;

/// The longest time to live: a hundred years, which etcd holds.
const LONGEST: f64 = 3.2e9;

/// The arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of an address that follows its `?`.
    pub(super) fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first argument of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The last argument of each name in the text of the argument `name`.
    pub(super) fn within(&self, name: &str) -> Vec<(String, String)> {
        let text = self.get(name).unwrap_or_default();
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()).into_owned() {
            found.retain(|(known, _)| *known != name);
            found.push((name, value));
        }
        found
    }

    /// How long what is written stays (`ttl`, in seconds); `None` for ever.
    ///
    /// # Errors
    /// When it is no number of seconds.
    pub(super) fn ttl(&self) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.get("ttl") else { return Ok(None) };
        let seconds = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= LONGEST);
        let seconds = seconds.ok_or_else(|| Failure::bad("invalid argument ttl: should be a number"))?;
        Ok(Some(Duration::from_secs_f64(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_a_number_of_seconds() {
        assert_eq!(Query::parse("").ttl(), Ok(None));
        assert_eq!(Query::parse("a=b&ttl=5").ttl(), Ok(Some(Duration::from_secs(5))));
        for text in ["ttl=abc", "ttl=", "ttl=0", "ttl=-1", "ttl=nan", "ttl=inf", "ttl=1e300"] {
            assert!(Query::parse(text).ttl().is_err(), "{text}");
        }
    }

    #[test]
    fn a_filter_is_a_query_in_a_query() {
        let query = Query::parse("filter=service_id%3D1%26upstream_id%3D2%26upstream_id%3D3");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(query.within("filter"), [pair("service_id", "1"), pair("upstream_id", "3")]);
        assert_eq!(query.within("none"), []);
    }
}
