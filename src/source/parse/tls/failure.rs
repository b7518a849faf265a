//! `spec.client.failure`.

use super::choice;
use crate::api;
use crate::model::{Failure, FailureAnswer, FailureBody, Invalid};

const FIELD: &str = "spec.client.failure";

/// Bytes of a body. It is sent to clients that are not authenticated, over and over.
const MAX_BODY: usize = 16 << 10;

/// Bytes of a redirect's target.
const MAX_REDIRECT: usize = 2048;

const TEXT: &str = "text/plain; charset=utf-8";

/// nginx's status for a client without a certificate.
const REFUSED: u16 = 400;

/// Found.
const REDIRECTED: u16 = 302;

pub(super) fn failure(failure: api::Failure) -> Result<Failure, Invalid> {
    let alert = choice(failure.kind.as_deref(), &field("type"), &[("Http", false), ("Alert", true)])?.unwrap_or(false);
    let api::Failure { body, content_type, kind: _, problem, redirect, status_code } = failure;
    let problem = problem.unwrap_or(false);
    let is_answer = body.is_some() || content_type.is_some() || problem || redirect.is_some() || status_code.is_some();
    match (alert, is_answer) {
        (true, false) => return Ok(Failure::Alert),
        (true, true) => {
            let message = "with Alert the handshake fails: there is no answer, so leave the other fields out";
            return Err(Invalid::spec(field("type"), message));
        }
        (false, false) => return Ok(Failure::Page),
        (false, true) => {}
    }
    let redirects = redirect.is_some();
    let body = match (body, problem, redirect) {
        (None, true, None) => FailureBody::Problem,
        (None, false, Some(target)) => FailureBody::Redirect(location(&target)?.into()),
        (body, false, None) => text(body, content_type.as_deref())?,
        _ => return Err(Invalid::spec(FIELD, "body, problem and redirect exclude each other")),
    };
    if content_type.is_some() && !matches!(body, FailureBody::Text { .. }) {
        return Err(Invalid::spec(field("contentType"), "needs body"));
    }
    Ok(Failure::Answer(FailureAnswer { body, status: status(status_code, redirects)? }))
}

fn field(name: &str) -> String {
    format!("{FIELD}.{name}")
}

fn status(status: Option<i64>, redirects: bool) -> Result<u16, Invalid> {
    let Some(status) = status else { return Ok(if redirects { REDIRECTED } else { REFUSED }) };
    let allowed = u16::try_from(status).ok().filter(|status| {
        if redirects { matches!(status, 301 | 302 | 303 | 307 | 308) } else { (400..=599).contains(status) }
    });
    allowed.ok_or_else(|| {
        let message = format!("{status} is not 301, 302, 303, 307 or 308 with redirect, or 400 to 599 without");
        Invalid::spec(field("statusCode"), message)
    })
}

/// A target without spaces and control characters, so that it cannot end the header.
fn location(target: &str) -> Result<&str, Invalid> {
    let rest = ["https://", "http://", "/"].iter().find_map(|start| Some((*start, target.strip_prefix(start)?)));
    let usable = rest.is_some_and(|(start, rest)| start == "/" || !rest.is_empty());
    if !usable || target.len() > MAX_REDIRECT || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message =
            "must be an absolute URL or a path, of printable ASCII without spaces, and at most 2048 bytes long";
        return Err(Invalid::spec(field("redirect"), message));
    }
    Ok(target)
}

fn text(body: Option<String>, content_type: Option<&str>) -> Result<FailureBody, Invalid> {
    if content_type.is_some() && body.is_none() {
        return Err(Invalid::spec(field("contentType"), "needs body"));
    }
    let text = body.unwrap_or_default();
    if text.len() > MAX_BODY {
        return Err(Invalid::spec(field("body"), format!("is {} bytes long; {MAX_BODY} are the most", text.len())));
    }
    let content_type = content_type.unwrap_or(TEXT);
    let printable = content_type.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if !printable || !content_type.contains('/') || content_type.len() > 255 {
        return Err(Invalid::spec(field("contentType"), "must be a media type such as `text/html; charset=utf-8`"));
    }
    Ok(FailureBody::Text { content_type: content_type.into(), text: text.into() })
}
