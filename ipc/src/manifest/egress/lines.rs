//! The lines of `paths` and `reads`: which requests they admit; and which paths every server reads alike.
//!
//! Must not know: the host, who sends the request.

/// The methods of requests that are forwarded: those of HTTP that servers of data have (RFC 9110, 5789), and WebDAV's (RFC
/// 4918, 3253, 4791). Not TRACE, which answers with the headers that it was sent, and the secret is one of them; not COPY and
/// MOVE, whose header `Destination` names a second path, or another host, that no line judges.
const METHODS: [&str; 14] = [
    "GET",
    "HEAD",
    "OPTIONS",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "PROPFIND",
    "PROPPATCH",
    "REPORT",
    "MKCOL",
    "MKCALENDAR",
    "LOCK",
    "UNLOCK",
];

/// Whether a request of this method is forwarded, where a line of the manifest admits it.
#[must_use]
pub fn is_method(method: impl AsRef<str>) -> bool {
    METHODS.contains(&method.as_ref())
}

/// Whether a line of `paths` or `reads` admits a request: `GET`, `/dav` or `GET /dav`. The path is judged segment by
/// segment.
#[must_use]
pub fn admits(line: &str, method: &str, path: &str) -> bool {
    let (of, below) = split(line);
    let begins = |with: &str| {
        let with = with.strip_suffix('/').unwrap_or(with);
        path.strip_prefix(with)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    of.is_none_or(|of| of == method) && below.is_none_or(begins)
}

/// The method and the path of a line.
pub(super) fn split(line: &str) -> (Option<&str>, Option<&str>) {
    match line.split_once(' ') {
        Some((method, path)) => (Some(method), Some(path)),
        None if line.starts_with('/') => (None, Some(line)),
        None => (Some(line), None),
    }
}

/// Whether a path is spelled in the one way that every server reads alike: no empty, `.` or `..` segment, nothing
/// encoded that separates segments, no backslash or parameter.
#[must_use]
pub fn is_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let lower = rest.to_ascii_lowercase();
    let plain = !lower.contains(['\\', ';'])
        && !["%2e", "%2f", "%5c", "%00"]
            .iter()
            .any(|e| lower.contains(e));
    let segment = |segment: &str| !matches!(segment, "" | "." | "..");
    plain
        && path.bytes().all(|b| b.is_ascii_graphic())
        && (rest.is_empty() || rest.split('/').all(segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_that_names_a_second_path_is_none() {
        for method in ["COPY", "MOVE", "TRACE", "CONNECT"] {
            assert!(!is_method(method), "{method}");
        }
        assert!(is_method("PROPFIND"), "the control");
    }

    #[test]
    fn a_path_that_servers_read_differently_is_no_path() {
        for path in ["/", "/dav", "/dav/", "/dav/a%20b", "/v1/a.b"] {
            assert!(is_path(path), "{path}");
        }
        for path in [
            "",
            "dav",
            "/dav/../x",
            "/./x",
            "//x",
            "/a//b",
            "/%2e%2e/x",
            "/a%2Fb",
            "/a\\b",
            "/a;b",
            "/a b",
            "/a\n",
        ] {
            assert!(!is_path(path), "{path:?}");
        }
    }
}
