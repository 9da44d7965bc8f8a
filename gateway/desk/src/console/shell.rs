//! What a browser gets before anybody is signed in: the empty page, its style and its script. Nothing of the owner's.
//!
//! It lives at one name, `localhost`: asked for by a loopback address it sends there, so that what a browser keeps for
//! the console is not shared with whatever else listens on that address.

use super::{
    assets::{SERVED_SCRIPT, STYLE, digest},
    door,
};
use crate::{
    acts::{blocking, failed},
    desk::Desk,
};
use askama::Template;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use plexus_edge::{address::hostname, guard::Serves, reply::Refused, service::unknown};
use plexus_protocol::{ErrorBody, ErrorCode};
use std::sync::Arc;

#[derive(Template)]
#[template(path = "shell.html")]
struct Shell {
    digest: &'static str,
    navigation: Vec<Section>,
}

/// A heading of the navigation, with the addresses of its pages.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) tabs: Vec<(&'static str, &'static Tab)>,
}

/// A page in the navigation.
pub(super) struct Tab {
    /// The heading that it is below; none above the first.
    pub(super) section: &'static str,
    /// Its id in the markup.
    pub(super) id: &'static str,
    /// Its label, around the letter that goes there behind `G`.
    pub(super) label: [&'static str; 3],
}

/// The page.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    request: Request,
    navigation: Vec<Section>,
) -> Result<Response, Refused> {
    let path = request.uri().path();
    if path.starts_with("/admin/api/") || path.starts_with("/admin/console/") {
        return unknown(desk.edge.clone(), request).await;
    }
    let over_tcp = request.extensions().get::<Serves>() == Some(&Serves::All);
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok());
    match host.map(|host| (hostname(host), host)) {
        Some(("127.0.0.1" | "[::1]" | "localhost", host))
            if over_tcp && !is_by_port(host, desk.address.port()) =>
        {
            Err(by_another_port(&desk, host))
        }
        Some(("127.0.0.1" | "[::1]", _)) if over_tcp => {
            let there = format!("http://{}{path}", door::authority(&desk));
            let mut away = dressed(&desk, Response::new(Body::empty()));
            *away.status_mut() = StatusCode::FOUND;
            // A path of a request is text that a header may hold.
            if let Ok(there) = HeaderValue::from_str(&there) {
                away.headers_mut().insert(header::LOCATION, there);
            }
            Ok(away)
        }
        Some(("localhost", _)) => {
            let shell = Shell {
                digest: digest(),
                navigation,
            };
            let page = shell
                .render()
                .map_err(|error| failed(format!("the page cannot be made: {error}")))?;
            Ok(typed(&desk, page.into(), "text/html; charset=utf-8"))
        }
        _ => Err(Refused::new(
            ErrorBody::new(
                ErrorCode::HostForbidden,
                "The console opens on the gateway's own machine only.",
            )
            .next(format!(
                "open http://{}/admin in a browser of that machine",
                door::authority(&desk)
            )),
        )),
    }
}

/// Whether a browser came by this port, and not by another one such as ssh forwards.
fn is_by_port(host: &str, own: u16) -> bool {
    let port = host.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| port.parse::<u16>() == Ok(own))
}

/// Says how to come by the console's own port: at another one its page may not load its script, and stays empty.
fn by_another_port(desk: &Desk, host: &str) -> Refused {
    let (own, port) = (door::authority(desk), desk.address.port());
    let why = format!("The console opens at http://{own}/admin alone; you came by {host}.");
    let next = format!(
        "from another machine, forward the same port: ssh -L {port}:localhost:{port} HOST; then open http://{own}/admin"
    );
    Refused::new(ErrorBody::new(ErrorCode::HostForbidden, why).next(next))
}

pub(super) async fn style(State(desk): State<Arc<Desk>>) -> Response {
    typed(&desk, STYLE.into(), "text/css; charset=utf-8")
}

pub(super) async fn script(State(desk): State<Arc<Desk>>) -> Response {
    typed(
        &desk,
        SERVED_SCRIPT.as_str().into(),
        "text/javascript; charset=utf-8",
    )
}

/// Nothing is framed, sent elsewhere or run but this page's own script, which makes HTML through one named policy.
fn policy(desk: &Desk) -> String {
    let own = format!("http://{}", door::authority(desk));
    format!(
        "default-src 'none'; script-src {own}/admin/console.js; style-src {own}/admin/console.css; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types plexus-console"
    )
}

#[derive(Template)]
#[template(path = "came_back.html")]
struct CameBack {
    why: Option<String>,
}

/// What a browser shows that is back from the sign-in at a server.
pub(crate) fn came_back(desk: &Desk, why: Option<String>) -> Result<Response, Refused> {
    made(desk, CameBack { why }.render())
}

/// A page or a part of one that is made where waiting for the disk holds nobody up.
pub(super) async fn rendered(
    desk: &Desk,
    page: impl FnOnce() -> Result<String, askama::Error> + Send + 'static,
) -> Result<Response, Refused> {
    made(desk, blocking(page).await?)
}

/// A page that a template made.
pub(super) fn made(desk: &Desk, made: Result<String, askama::Error>) -> Result<Response, Refused> {
    let made = made.map_err(|error| failed(error.to_string()))?;
    Ok(typed(desk, made.into(), "text/html; charset=utf-8"))
}

pub(super) fn typed(desk: &Desk, body: Body, kind: &'static str) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    dressed(desk, response)
}

fn dressed(desk: &Desk, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy(desk)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        ("cache-control", "no-store"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        (
            "permissions-policy",
            "camera=(), microphone=(), geolocation=()",
        ),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::assets::SCRIPT;

    /// Every template by its name, as it is written.
    fn templates() -> Vec<(String, String)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path());
        let html = files.filter(|file| file.extension().is_some_and(|kind| kind == "html"));
        html.map(|file| {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(file).unwrap())
        })
        .collect()
    }

    /// The number of a list is a link to it. `docs/console.md` says which are none.
    #[test]
    fn each_number_is_a_link_to_what_it_counts() {
        const NUMBERS: [&str; 19] = [
            "applied",
            "capabilities",
            "closed",
            "count",
            "counts",
            "files",
            "grants",
            "hidden",
            "lent",
            "more_agents",
            "more_sources",
            "number",
            "pending",
            "proven",
            "restarts",
            "sources",
            "today",
            "unsettled",
            "waiting",
        ];
        const DECLARED: [(&str, &str); 5] = [
            // What it counts is folded below it, or listed behind it, or by the command beside it.
            ("channels.html", "one.waiting"),
            ("connect.html", "of.count"),
            ("since.html", "count"),
            ("card.html", "before.count"),
            ("health.html", "worker.restarts"),
        ];
        let (mut linked, mut declared) = (0, 0);
        for (name, text) in templates() {
            for (at, _) in text.match_indices("{{ ") {
                let shown = text[at + 3..].split_once(" }}").unwrap().0;
                let last = shown.rsplit('.').next().unwrap();
                let before = &text[..at];
                let is_attribute = before.rfind('<') > before.rfind('>');
                if !NUMBERS.contains(&last) || is_attribute {
                    continue;
                }
                if DECLARED.contains(&(&*name, shown)) {
                    declared += 1;
                    continue;
                }
                assert!(
                    before.rfind("<a ") > before.rfind("</a>"),
                    "{name}: {shown}"
                );
                linked += 1;
            }
        }
        assert_eq!(declared, DECLARED.len());
        assert!(linked > 25, "{linked} numbers are links");
    }

    #[test]
    fn the_pages_need_no_more_than_their_policy_allows() {
        let templates = templates();
        assert!(templates.len() > 30, "{} templates", templates.len());
        for (_, template) in &templates {
            assert!(
                !template.contains("|safe"),
                "text goes through `ForeignText`"
            );
            for needs_more in [
                "<style",
                " style=",
                " onclick",
                " onload",
                "<iframe",
                "<img",
                "javascript:",
                "<object",
            ] {
                assert!(!template.contains(needs_more), "{needs_more}");
            }
            // One script, from its own file.
            for script in template.split("<script").skip(1) {
                assert!(script.starts_with(" src=\"/admin/console.js\" defer></script>"));
            }
        }
        for sink in [
            "eval(",
            "new Function",
            "document.write",
            "insertAdjacentHTML",
            "outerHTML",
            "localStorage",
        ] {
            assert!(!SCRIPT.contains(sink), "{sink}");
        }
        // Else what is served is another text than what was written.
        for line in SCRIPT.lines() {
            assert_eq!(line.matches('`').count() % 2, 0, "{line}");
        }
        assert_eq!(
            SCRIPT.matches("createHTML").count(),
            3,
            "made, stood in for, used: one place each"
        );
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
