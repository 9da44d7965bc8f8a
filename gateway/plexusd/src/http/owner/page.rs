//! The console's page (DESIGN 11): one static document, no script, that says how to decide what waits.
//!
//! It lives at one name, `localhost`: asked for by a loopback address it sends there, so that what a browser keeps for
//! the console is not shared with whatever else listens on that address.

use crate::{
    app::App,
    http::{Serves, guard::hostname, reply::Refused, unknown},
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use plexus_protocol::Digest;
use std::sync::{Arc, LazyLock};

const PAGE: &str = include_str!("page.html");

/// Nothing is loaded, sent, framed or run; the one style in the page is named by its digest.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = PAGE
        .split_once("<style>")
        .and_then(|(_, rest)| rest.split_once("</style>"))
        .map_or("", |(s, _)| s);
    let digest = STANDARD.encode(Digest::of(style.as_bytes()).0);
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

pub(super) async fn show(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Refused> {
    let path = request.uri().path();
    if path.starts_with("/admin/api/") {
        return unknown(State(app), request).await;
    }
    let over_tcp = request.extensions().get::<Serves>() == Some(&Serves::All);
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .map(hostname);
    let mut response = if over_tcp && matches!(host, Some("127.0.0.1" | "[::1]")) {
        let there = format!("http://localhost:{}{path}", app.address.port());
        let mut away = Response::new(Body::empty());
        *away.status_mut() = StatusCode::FOUND;
        // A path of a request is text that a header may hold.
        if let Ok(there) = HeaderValue::from_str(&there) {
            away.headers_mut().insert(header::LOCATION, there);
        }
        away
    } else {
        let mut page = Response::new(Body::from(PAGE));
        page.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        page
    };
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_no_more_than_its_policy_allows() {
        assert!(POLICY.contains("default-src 'none'") && !POLICY.contains("unsafe"));
        assert_eq!(PAGE.matches("<style").count(), 1);
        for needs_more in [
            "<script", " style=", "src=", " on", "<link", "<form", "<iframe",
        ] {
            let inside_tag = PAGE
                .split('<')
                .filter(|t| format!("<{}", t.split('>').next().unwrap_or("")).contains(needs_more));
            assert_eq!(inside_tag.count(), 0, "{needs_more}");
        }
    }
}
