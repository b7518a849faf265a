//! One step of an explanation, and how it looks in a terminal.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use super::Explanation;

/// One thing that the proxy looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Where the field is in the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What was found.
    pub message: String,
    /// What led to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The object that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What is looked at: `route`.
    pub step: String,
    /// Whether it lets the request pass.
    pub verdict: Verdict,
}

/// Whether a step lets a request pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It does.
    Ok,
    /// It does, but something is wrong.
    Warning,
    /// It does not.
    Refused,
}

impl Step {
    pub(super) fn ok(step: &str, message: impl Into<String>) -> Self {
        let (step, message) = (step.to_owned(), message.into());
        Self { field: None, help: None, message, notes: Vec::new(), object: None, step, verdict: Verdict::Ok }
    }

    pub(super) fn warning(step: &str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, ..Self::ok(step, message) }
    }

    pub(super) fn refused(step: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), verdict: Verdict::Refused, ..Self::ok(step, message) }
    }

    pub(super) fn notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    pub(super) fn of(mut self, object: impl fmt::Display, field: &str) -> Self {
        self.object = Some(object.to_string());
        self.field = (!field.is_empty()).then(|| field.to_owned());
        self
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Refused => "refused",
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            step.fmt(f)?;
        }
        writeln!(f, "\n{}", Line(&self.summary))
    }
}

impl fmt::Display for Step {
    /// As a compiler writes its findings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}: {}", self.verdict, self.step, Line(&self.message))?;
        match (&self.object, &self.field) {
            (Some(object), Some(field)) => writeln!(f, "  --> {}: {}", Line(object), Line(field))?,
            (Some(object), None) => writeln!(f, "  --> {}", Line(object))?,
            (None, _) => {}
        }
        for note in &self.notes {
            writeln!(f, "   = {}", Line(note))?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "   = help: {}", Line(help))?;
        }
        Ok(())
    }
}

/// Text that stays on its line: certificates and objects may hold anything, escape sequences of terminals too.
struct Line<'a>(&'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moves = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
        self.0.chars().try_for_each(|c| if moves(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_written_as_a_compiler_does_and_stays_on_its_lines() {
        let step =
            Step::refused("client certificate", "unknown issuer", "add the CA").of("ApisixTls a/b", "spec.client");
        let step = step.notes(["issuer CN=x\n\u{1b}[31mfake".to_owned()]);
        let expected = "refused: client certificate: unknown issuer\n  --> ApisixTls a/b: spec.client\n   \
                        = issuer CN=x\\n\\u{1b}[31mfake\n   = help: add the CA\n";
        assert_eq!(step.to_string(), expected);
    }
}
