//! The normal form of a URL's path: one spelling for every path, whatever the client wrote.

use std::borrow::Cow;

/// The normal form of `path` (RFC 3986 section 6.2.2), borrowed where `path` has it already.
///
/// - Percent-encodings are in upper case. What needs none (letters, digits, `-._~`) is decoded; what RFC 3986 does not allow
///   in a path (`"`, `{`, `|`, characters that are not ASCII) is encoded. Everything else stays as it was sent: `%2F` never
///   turns into a separator, nor `%2B` into a plus.
/// - Dot segments are removed, `%2e` among them (RFC 3986 section 5.2.4).
/// - Empty segments stay: `/a//b` and `/fetch/https://example.com` mean what their upstream takes them for.
///
/// # Errors
/// What has no normal form that everyone would agree on: a percent sign without two hexadecimal digits, `%00`, a control
/// character, a backslash (browsers and IIS take it for a slash), dot segments that lead above the root (as in nginx), and
/// what does not start with a slash.
pub fn normal_path(path: &str) -> Result<Cow<'_, str>, &'static str> {
    if !path.starts_with('/') {
        return Err("the path does not start with a slash");
    }
    Ok(match normal_encoding(path)? {
        Cow::Borrowed(path) if !has_dot_segment(path) => Cow::Borrowed(path),
        path => Cow::Owned(without_dot_segments(&path)?),
    })
}

/// Whether everyone takes the normal path `path` for the same resource. An upstream may merge slashes, cut parameters off
/// (`/public/..;/admin` is `/admin` to Tomcat), decode separators, decode what was encoded twice, stumble over control
/// characters, or read what is no UTF-8 as something else (`%C0%AE` as a dot). Such a path may lead somewhere else there than
/// its beginning says.
pub fn is_plain_path(path: &str) -> bool {
    let mut pieces = path.split('%');
    let mut decoded = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let Some((digits, rest)) = piece.split_at_checked(2) else { return false };
        match u8::from_str_radix(digits, 16) {
            Err(_) | Ok(0..0x20 | 0x7f | b'/' | b'\\' | b';' | b'%') => return false,
            Ok(byte) => decoded.push(byte),
        }
        decoded.extend_from_slice(rest.as_bytes());
    }
    !path.contains("//") && !path.contains(';') && std::str::from_utf8(&decoded).is_ok()
}

fn normal_encoding(path: &str) -> Result<Cow<'_, str>, &'static str> {
    let bytes = path.as_bytes();
    let mut normal = Vec::new(); // what precedes `copied`, in normal form
    let (mut copied, mut at) = (0, 0);
    while let Some(&byte) = bytes.get(at) {
        let length = if byte == b'%' { 3 } else { 1 };
        let meant = match byte {
            b'%' => hex(bytes.get(at + 1..at + 3)).ok_or("the path holds a broken percent-encoding")?,
            byte => byte,
        };
        match (byte, meant) {
            (b'%', 0) => return Err("the path holds %00"),
            (0..=0x1f | 0x7f, _) => return Err("the path holds a control character"),
            (b'\\', _) => return Err("the path holds a backslash"),
            (b'%', _) if !unreserved(meant) && !bytes[at + 1..at + 3].iter().any(u8::is_ascii_lowercase) => {}
            (byte, _) if byte != b'%' && (byte == b'/' || allowed(byte)) => {}
            _ => {
                normal.extend_from_slice(&bytes[copied..at]);
                if unreserved(meant) {
                    normal.push(meant);
                } else {
                    normal.extend_from_slice(format!("%{meant:02X}").as_bytes());
                }
                copied = at + length;
            }
        }
        at += length;
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(path));
    }
    normal.extend_from_slice(&bytes[copied..]);
    String::from_utf8(normal).map(Cow::Owned).map_err(|_| "the path cannot be normalised") // it is ASCII
}

fn hex(digits: Option<&[u8]>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match digits? {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// RFC 3986 section 2.3.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a segment may hold unencoded (`pchar` in RFC 3986 section 3.3).
fn allowed(byte: u8) -> bool {
    unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

fn has_dot_segment(path: &str) -> bool {
    path.contains("/.") && path.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn without_dot_segments(path: &str) -> Result<String, &'static str> {
    let mut kept = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if !matches!(segment, "." | "..") {
            kept.push(segment);
            continue;
        }
        if segment == ".." && kept.pop().is_none() {
            return Err("the path leads above the root");
        }
        if segments.peek().is_none() {
            kept.push(""); // `/a/b/..` is `/a/`
        }
    }
    Ok(kept.iter().flat_map(|segment| ["/", segment]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b.c/~d;v=1/e@f:g!$&'()*+,=", "/a/b.c/~d;v=1/e@f:g!$&'()*+,="),
            ("/%41%7e%2d", "/A~-"),
            ("/%2f%5c%2b%20%3b%25%c3%a4", "/%2F%5C%2B%20%3B%25%C3%A4"),
            ("/%2F%2B", "/%2F%2B"),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/ä|{\"}^[]`", "/%C3%A4%7C%7B%22%7D%5E%5B%5D%60"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e/b/%2E%2e/c", "/a/c"),
            ("/a/.%2e", "/"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/.", "/"),
            ("/./", "/"),
            ("/a//b///", "/a//b///"),
            ("/a//../b", "/a/b"),
            ("//..", "/"),
            ("/fetch/https://a.test/", "/fetch/https://a.test/"),
            ("/...", "/..."),
            ("/.a/..b/c..", "/.a/..b/c.."),
            ("/a/..;/b", "/a/..;/b"),
            ("/a/..%2Fb", "/a/..%2Fb"),
        ] {
            assert_eq!(normal_path(path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn what_has_no_normal_form_is_refused() {
        for path in [
            "",
            "a",
            "*",
            "/%",
            "/%4",
            "/%4g",
            "/%+1",
            "/%zz",
            "/%00",
            "/a\\b",
            "/..\\a",
            "/a\nb",
            "/a\u{7f}",
            "/..",
            "/../a",
            "/a/../..",
            "/a/../../b",
            "/%2e%2e",
            "/%2e./a",
            "/%ä1",
        ] {
            assert!(normal_path(path).is_err(), "{path:?}");
        }
    }

    /// Every path of up to six of the pieces that matter.
    fn paths() -> impl Iterator<Item = String> {
        const PIECES: [&str; 9] = ["/", ".", "a", "%2e", "%2F", ";", "%41", "ä", "%c3"];
        (1..6_u32).flat_map(|length| {
            (0..9_usize.pow(length)).map(move |number| {
                let pieces = (0..length).map(|place| PIECES[number / 9_usize.pow(place) % 9]);
                format!("/{}", pieces.collect::<String>())
            })
        })
    }

    #[test]
    fn a_normal_form_is_its_own_and_stays_below_the_root() {
        let mut normal = 0;
        for path in paths() {
            let Ok(form) = normal_path(&path) else { continue };
            assert!(matches!(normal_path(&form), Ok(Cow::Borrowed(same)) if same == form), "{path} {form}");
            assert!(form.starts_with('/') && form.is_ascii() && !has_dot_segment(&form), "{path} {form}");
            assert!(form.matches("%2F").count() <= path.matches("%2F").count(), "{path} {form}");
            normal += 1;
        }
        assert!(normal > 10_000, "{normal}");
    }

    /// The segments of a path as bytes, decoded.
    fn segments(path: &str) -> Vec<Vec<u8>> {
        let decode = |segment: &str| {
            let mut pieces = segment.split('%');
            let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
            for piece in pieces {
                bytes.push(hex(piece.as_bytes().get(..2)).unwrap());
                bytes.extend_from_slice(&piece.as_bytes()[2..]);
            }
            bytes
        };
        path.split('/').map(decode).collect()
    }

    #[test]
    fn without_dot_segments_a_normal_form_means_what_was_sent() {
        let mut compared = 0;
        for path in paths() {
            let Ok(form) = normal_path(&path) else { continue };
            let sent = segments(&path);
            if !sent.iter().any(|segment| segment == b"." || segment == b"..") {
                assert_eq!(segments(&form), sent, "{path} {form}");
                compared += 1;
            }
        }
        assert!(compared > 10_000, "{compared}");
    }

    #[test]
    fn plain_paths_are_borrowed() {
        for path in ["/", "/index.html", "/api/v1/users/42", "/a%20b/%2B", "/.well-known/x"] {
            assert!(matches!(normal_path(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn a_path_that_can_be_taken_for_another_is_not_plain() {
        for path in
            ["/a//b", "//", "/a;/b", "/a%2Fb", "/a%5Cb", "/a%3Bb", "/a%252Fb", "/a%0A", "/%C0%AE", "/%C3", "/%", "/%4"]
        {
            assert!(!is_plain_path(path), "{path}");
        }
        for path in ["/", "/a/b.css", "/a%20b", "/a%2B%3D%5B", "/%C3%A4"] {
            assert!(is_plain_path(path), "{path}");
        }
    }
}
