//! The account on its server: where its calendars are, what they hold, and the changes of one object.
//!
//! ```text
//! url ▸ current-user-principal ▸ calendar-home-set ▸ calendars ▸ objects
//!  └ or /.well-known/caldav, with redirects on the same host
//! ```
//!
//! Invariants: every address is canonical and on the server's own host; a calendar's id is its address below the home,
//! so two of one name have two; an object belongs to one calendar and lies directly in it.
//!
//! Must not know: what an object says, whether a change was approved.

use crate::{
    cache::Question,
    dav::{self, Element, Ns, Resource},
    http::{Failure, Http, done},
};
use hyper::{
    StatusCode,
    header::{self, HeaderName},
};
use std::sync::Arc;

/// Most redirects on the way to the account.
const REDIRECTS: usize = 5;
/// Most calendars of an account.
const CALENDARS: usize = 256;
/// Longest name of a calendar that is told, in characters.
const NAME: usize = 200;
/// Why a calendar cannot be listed.
const LOST_ELSEWHERE: &str = "nothing of this calendar is listed: it lies on another host";
const LOST_ADDRESS: &str = "nothing of this calendar is listed: its address cannot be read";
const LOST_KIND: &str = "nothing of it is listed: the server does not say what it is";
const LOST_MANY: &str = "nothing of this calendar is listed: the account has more than 256 of them";
/// Why an object cannot be listed.
const NOT_SENT: &str = "the server names it and does not send it; ask again";
const NOT_OF_IT: &str =
    "nothing of it is listed: the answer was cut short here, or it lies in another folder";
const DEPTH: HeaderName = HeaderName::from_static("depth");
const XML: (HeaderName, &str) = (header::CONTENT_TYPE, "application/xml; charset=utf-8");

/// One calendar or to-do list.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    pub(crate) id: String,
    /// Its address, which ends in `/`.
    path: String,
    pub(crate) name: String,
    pub(crate) color: Option<String>,
    pub(crate) events: bool,
    pub(crate) todos: bool,
    pub(crate) writable: bool,
    /// Another one after each change of anything in it (`getctag`); none where it was not asked for or is not offered.
    pub(crate) version: Option<String>,
}

/// What cannot be listed, by its id or address, and why.
pub(crate) type LeftOut = (String, &'static str);

/// The calendars of an account.
#[derive(Debug)]
pub(crate) struct Calendars {
    pub(crate) all: Vec<Calendar>,
    pub(crate) lost: Vec<LeftOut>,
}

/// One object of a calendar, as it was at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// The calendar's id, `/`, and its own name.
    pub(crate) id: String,
    pub(crate) etag: String,
    pub(crate) text: String,
}

/// What a calendar answered to a question.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) objects: Arc<[Object]>,
    pub(crate) left_out: Vec<LeftOut>,
}

/// What has to be there for a change to happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect<'a> {
    Nothing,
    Version(&'a str),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Server {
    http: Http,
    host: String,
    /// Where the calendars are; ends in `/`.
    home: String,
}

impl Server {
    /// Finds the account that `url` leads to.
    pub(crate) async fn find(http: Http, url: &str) -> Result<Self, Failure> {
        let (host, path) = split(url);
        let mut server = Self {
            http,
            host,
            home: String::new(),
        };
        let typed = canonical(path)?;
        let mut tried = vec![typed.as_str()];
        tried.extend(
            ["/.well-known/caldav", "/"]
                .iter()
                .filter(|path| **path != typed),
        );
        if typed == "/" {
            tried.swap(0, 1);
        }
        let mut answered = false;
        for path in tried {
            match server.home_by(path).await {
                Ok(Some(home)) => {
                    server.home = folder(home);
                    return Ok(server);
                }
                Ok(None) => answered = true,
                // Not there, or no WebDAV there.
                Err(Failure::Status(status, _)) if absent(status) => {}
                Err(Failure::Unreadable(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::NoCalendars(match answered {
            true => {
                "the server knows the user and names no calendars of theirs: it may be a server without CalDAV"
            }
            false => {
                "there is no CalDAV at this address; the server's help pages name the right one"
            }
        }))
    }

    /// The address of the calendars, asked for at `path`.
    async fn home_by(&self, path: &str) -> Result<Option<String>, Failure> {
        let home = |found: &Resource| self.named(found, Ns::Cal, "calendar-home-set");
        let question = dav::propfind("<d:current-user-principal/><c:calendar-home-set/>");
        let mut path = path.to_owned();
        let mut redirects = 0;
        let found = loop {
            match self.propfind(&path, "0", &question).await? {
                QueryAnswer::Found(found) => break found,
                QueryAnswer::Moved(to) if redirects < REDIRECTS => {
                    redirects += 1;
                    path = self.resolve(&path, &to)?;
                }
                QueryAnswer::Moved(_) => {
                    return Err(Failure::Unreadable("it redirects in a circle"));
                }
            }
        };
        let Some(first) = found.first() else {
            return Ok(None);
        };
        if let Some(there) = home(first)? {
            return Ok(Some(there));
        }
        let Some(principal) = self.named(first, Ns::Dav, "current-user-principal")? else {
            return Ok(None);
        };
        let question = dav::propfind("<c:calendar-home-set/>");
        match self.propfind(&principal, "0", &question).await? {
            QueryAnswer::Found(found) => found.first().map_or(Ok(None), home),
            QueryAnswer::Moved(_) => Err(Failure::Unreadable("the user's own address redirects")),
        }
    }

    /// The address that a property names.
    fn named(&self, found: &Resource, ns: Ns, name: &str) -> Result<Option<String>, Failure> {
        let href = found.property(ns, name).and_then(Element::href);
        href.filter(|href| !href.is_empty())
            .map(|href| self.resolve("/", href))
            .transpose()
    }

    async fn propfind(
        &self,
        path: &str,
        depth: &str,
        question: &str,
    ) -> Result<QueryAnswer, Failure> {
        let headers = [(DEPTH, depth), XML];
        let answer = self
            .http
            .send("PROPFIND", path, &headers, question.into())
            .await?;
        if answer.status.is_redirection() {
            let to = answer.header(header::LOCATION);
            let to = to.ok_or(Failure::Unreadable("a redirect to nowhere"))?;
            return Ok(QueryAnswer::Moved(to.to_owned()));
        }
        Ok(QueryAnswer::Found(dav::resources(&done(answer)?.body)?))
    }

    /// Whether the account is there.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        let question = dav::propfind("<d:resourcetype/>");
        self.propfind(&self.home, "0", &question).await.map(drop)
    }

    /// The calendars and lists, in the server's order.
    pub(crate) async fn calendars(&self) -> Result<Calendars, Failure> {
        self.calendars_with("").await
    }

    /// The same with their versions, which a server may have to work out.
    pub(crate) async fn versioned_calendars(&self) -> Result<Calendars, Failure> {
        self.calendars_with("<s:getctag/>").await
    }

    async fn calendars_with(&self, further: &str) -> Result<Calendars, Failure> {
        let question = dav::propfind(&format!(
            "<d:displayname/><d:resourcetype/><d:current-user-privilege-set/><c:supported-calendar-component-set/><a:calendar-color/>{further}"
        ));
        let QueryAnswer::Found(found) = self.propfind(&self.home, "1", &question).await? else {
            return Err(Failure::Unreadable(
                "the address of the calendars redirects",
            ));
        };
        let (mut all, mut lost) = (Vec::new(), Vec::new());
        for resource in &found {
            let kind = resource.property(Ns::Dav, "resourcetype");
            let is_calendar = kind.is_some_and(|kind| kind.child(Ns::Cal, "calendar").is_some());
            // Of one that failed, nobody knows what it is.
            if !is_calendar && !resource.properties.is_empty() {
                continue;
            }
            let path = match self.resolve(&self.home, &resource.href) {
                Ok(path) => folder(path),
                Err(failure) => {
                    let elsewhere = matches!(failure, Failure::Elsewhere(_));
                    let why = if elsewhere {
                        LOST_ELSEWHERE
                    } else {
                        LOST_ADDRESS
                    };
                    lost.push((resource.href.chars().take(NAME).collect(), why));
                    continue;
                }
            };
            let below = path
                .strip_prefix(&self.home)
                .filter(|below| !below.is_empty());
            let id = below.unwrap_or(&path).trim_end_matches('/').to_owned();
            if !is_calendar && below.is_some() {
                lost.push((id, LOST_KIND));
                continue;
            }
            let kind = resource.property(Ns::Dav, "resourcetype");
            if kind.is_none_or(|kind| kind.child(Ns::Cal, "calendar").is_none()) {
                continue;
            }
            if all.len() == CALENDARS {
                lost.push((id, LOST_MANY));
                continue;
            }
            let takes = dav::components(resource);
            let takes = |name: &str| {
                let listed = takes.as_ref().filter(|takes| !takes.is_empty());
                listed.is_none_or(|takes| takes.iter().any(|t| t.eq_ignore_ascii_case(name)))
            };
            let name = resource.text(Ns::Dav, "displayname").unwrap_or(&id);
            all.push(Calendar {
                name: name.chars().take(NAME).collect(),
                color: resource
                    .text(Ns::Apple, "calendar-color")
                    .map(|c| c.chars().take(16).collect()),
                events: takes("VEVENT"),
                todos: takes("VTODO"),
                writable: dav::writable(resource),
                version: resource.text(Ns::Extended, "getctag").map(str::to_owned),
                id,
                path,
            });
        }
        Ok(Calendars { all, lost })
    }

    /// The objects of a calendar that answer this question.
    pub(crate) async fn objects(
        &self,
        calendar: &Calendar,
        question: &Question,
    ) -> Result<Listing, Failure> {
        let question = dav::query(question.component, question.between.as_ref());
        let headers = [(DEPTH, "1"), XML];
        let answer = self
            .http
            .send("REPORT", &calendar.path, &headers, question)
            .await?;
        let found = dav::resources(&done(answer)?.body)?;
        let mut objects = Vec::with_capacity(found.len());
        let mut left_out = Vec::new();
        for mut resource in found {
            let path = self.resolve(&calendar.path, &resource.href)?;
            let name = path.strip_prefix(&calendar.path);
            // The calendar itself has no text. If it is said to have failed, the answer was cut short.
            if name.is_some_and(str::is_empty) && !resource.properties.is_empty() {
                continue;
            }
            let etag = resource
                .text(Ns::Dav, "getetag")
                .unwrap_or_default()
                .to_owned();
            let mut properties = resource.properties.drain(..);
            let text = properties
                .find(|p| p.name() == "calendar-data")
                .map(|p| p.text);
            match (name.filter(|name| is_name(name)), text) {
                (Some(name), Some(text)) => objects.push(Object {
                    id: format!("{}/{name}", calendar.id),
                    etag,
                    text,
                }),
                (Some(name), None) => left_out.push((format!("{}/{name}", calendar.id), NOT_SENT)),
                (None, _) => left_out.push((path.chars().take(NAME).collect(), NOT_OF_IT)),
            }
        }
        Ok(Listing {
            objects: objects.into(),
            left_out,
        })
    }

    /// The object with this id as it is now; `None` where there is none.
    pub(crate) async fn object(
        &self,
        calendar: &Calendar,
        id: &str,
    ) -> Result<Option<Object>, Failure> {
        let Some(path) = path_of(calendar, id) else {
            return Ok(None);
        };
        let answer = self.http.send("GET", &path, &[], String::new()).await?;
        if absent(answer.status) {
            return Ok(None);
        }
        let answer = done(answer)?;
        let etag = answer.header(header::ETAG).map(str::to_owned);
        Ok(Some(Object {
            id: id.to_owned(),
            etag: etag.ok_or(Failure::Unreadable("it names no version of the object"))?,
            text: String::from_utf8(answer.body.into())
                .map_err(|_| Failure::Unreadable("the object is not UTF-8"))?,
        }))
    }

    /// Writes an object; answers its version, where the server says it.
    pub(crate) async fn put(
        &self,
        calendar: &Calendar,
        id: &str,
        text: String,
        expect: Expect<'_>,
    ) -> Result<Option<String>, Failure> {
        let path = path_of(calendar, id).ok_or(Failure::Unreadable("an address that is none"))?;
        let kind = (header::CONTENT_TYPE, "text/calendar; charset=utf-8");
        let answer = self
            .http
            .send("PUT", &path, &[kind, expect.header()], text)
            .await?;
        let answer = done(answer)?;
        Ok(answer.header(header::ETAG).map(str::to_owned))
    }

    /// Removes an object of this version.
    pub(crate) async fn delete(
        &self,
        calendar: &Calendar,
        id: &str,
        version: &str,
    ) -> Result<(), Failure> {
        let path = path_of(calendar, id).ok_or(Failure::Unreadable("an address that is none"))?;
        let headers = [Expect::Version(version).header()];
        let answer = self
            .http
            .send("DELETE", &path, &headers, String::new())
            .await?;
        done(answer).map(drop)
    }

    /// The canonical path of an address in an answer.
    fn resolve(&self, base: &str, href: &str) -> Result<String, Failure> {
        if href.contains("://") || href.starts_with("//") {
            let (host, path) = split(href);
            return match host == self.host {
                true => canonical(path),
                false => Err(Failure::Elsewhere(host.chars().take(253).collect())),
            };
        }
        match href.starts_with('/') {
            true => canonical(href),
            false => canonical(&format!("{}/{href}", base.trim_end_matches('/'))),
        }
    }
}

enum QueryAnswer {
    Found(Vec<Resource>),
    Moved(String),
}

impl<'a> Expect<'a> {
    fn header(self) -> (HeaderName, &'a str) {
        match self {
            Self::Nothing => (header::IF_NONE_MATCH, "*"),
            Self::Version(etag) => (header::IF_MATCH, etag),
        }
    }
}

/// Whether a status says that nothing of this kind is there.
fn absent(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::METHOD_NOT_ALLOWED
    )
}

/// Host, in lower case and without port, and path of a URL.
fn split(url: &str) -> (String, &str) {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let port = authority
        .rfind(':')
        .filter(|at| !authority[*at..].contains(']'));
    let host = authority[..port.unwrap_or(authority.len())].to_ascii_lowercase();
    (host, path)
}

fn folder(mut path: String) -> String {
    if !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// A path in the one spelling that the egress admits and that two answers can be compared in: each segment decoded and
/// encoded again, without query and fragment.
pub(crate) fn canonical(path: &str) -> Result<String, Failure> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut out = String::with_capacity(path.len() + 8);
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let plain = decoded(segment);
        if matches!(&plain[..], b"." | b"..") {
            return Err(Failure::Unreadable("it names an address that climbs"));
        }
        out.push('/');
        for byte in plain {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                    out.push(char::from(byte));
                }
                other => out.push_str(&format!("%{other:02X}")),
            }
        }
    }
    if out.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    Ok(out)
}

fn decoded(segment: &str) -> Vec<u8> {
    let bytes = segment.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Whether this is the canonical name of something directly in a calendar.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.contains('/')
        && canonical(name).is_ok_and(|path| path.strip_prefix('/') == Some(name))
}

/// The address of an object of this calendar.
fn path_of(calendar: &Calendar, id: &str) -> Option<String> {
    let name = id.strip_prefix(calendar.id.as_str())?.strip_prefix('/')?;
    is_name(name).then(|| format!("{}{name}", calendar.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_has_one_spelling() {
        for (given, one) in [
            ("", "/"),
            ("/dav//cal/", "/dav/cal/"),
            ("/a b/%c3%bc.ics", "/a%20b/%C3%BC.ics"),
            ("/me%40x/a@b;c+d&e", "/me@x/a@b%3Bc%2Bd%26e"),
            ("/a?query#fragment", "/a"),
            ("/100%", "/100%25"),
            ("/📅/", "/%F0%9F%93%85/"),
            ("/a%2Fb", "/a%2Fb"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(one), "{given}");
            assert_eq!(canonical(one).as_deref(), Ok(one), "{one}");
        }
        for climbs in ["/a/../b", "/%2e%2E/b", "/./b"] {
            let Err(Failure::Unreadable(why)) = canonical(climbs) else {
                panic!("{climbs}");
            };
            assert_eq!(why, "it names an address that climbs");
        }
    }

    #[test]
    fn host_of_an_address_is_compared_without_case_and_port() {
        for (url, host, path) in [
            (
                "https://Cal.Example.org:8443/dav",
                "cal.example.org",
                "/dav",
            ),
            ("//other/x", "other", "/x"),
            ("cal.example.org", "cal.example.org", ""),
            ("http://[::1]:5232/", "[::1]", "/"),
            ("https://[::1]", "[::1]", ""),
        ] {
            assert_eq!(split(url), (host.to_owned(), path), "{url}");
        }
    }

    #[test]
    fn object_of_another_calendar_has_no_address_here() {
        let calendar = Calendar {
            id: "work".into(),
            path: "/me/work/".into(),
            name: "Work".into(),
            color: None,
            events: true,
            todos: true,
            writable: true,
            version: None,
        };
        let path = |id| path_of(&calendar, id);
        assert_eq!(
            path("work/a%20b.ics").as_deref(),
            Some("/me/work/a%20b.ics")
        );
        for id in [
            "home/a.ics",
            "work",
            "work/",
            "workx/a",
            "work/../home/a.ics",
            "work/a/b",
            "work/a b",
            "work/..",
        ] {
            assert_eq!(path(id), None, "{id}");
        }
    }
}
