//! WebDAV's XML: the answers, as trees of elements, and the few questions.
//!
//! Invariants: no entity but XML's own five and characters by number; a document type is refused; depth and number of
//! elements are bounded.
//!
//! Must not know: what a property means.

use crate::http::Failure;
use quick_xml::{NsReader, escape::resolve_xml_entity, events::Event, name::ResolveResult};

/// Deepest element.
const DEPTH: usize = 32;
/// Most elements in one answer: 20,000 objects of a calendar have 160,000.
const ELEMENTS: usize = 400_000;

/// The namespaces that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ns {
    Dav,
    Cal,
    Apple,
    /// The extension that has a version of a whole calendar.
    Extended,
    Other,
}

/// An element with what lies below it.
#[derive(Debug)]
pub(crate) struct Element {
    ns: Ns,
    name: String,
    /// Its attribute `name`, which is all that CalDAV says in attributes.
    named: Option<String>,
    pub(crate) text: String,
    children: Vec<Element>,
}

/// What an answer says of one address.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) href: String,
    /// The properties that it has.
    pub(crate) properties: Vec<Element>,
}

impl Element {
    fn is(&self, ns: Ns, name: &str) -> bool {
        self.ns == ns && self.name == name
    }
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
    fn all<'a>(&'a self, ns: Ns, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |e| e.is(ns, name))
    }
    pub(crate) fn child(&self, ns: Ns, name: &str) -> Option<&Self> {
        self.children.iter().find(|e| e.is(ns, name))
    }
    /// The address in it.
    pub(crate) fn href(&self) -> Option<&str> {
        Some(self.child(Ns::Dav, "href")?.text.trim())
    }
}

impl Resource {
    pub(crate) fn property(&self, ns: Ns, name: &str) -> Option<&Element> {
        self.properties.iter().find(|e| e.is(ns, name))
    }
    pub(crate) fn text(&self, ns: Ns, name: &str) -> Option<&str> {
        let text = self.property(ns, name)?.text.trim();
        (!text.is_empty()).then_some(text)
    }
}

/// The resources of a multi-status answer, each with the properties that were found.
pub(crate) fn resources(body: &[u8]) -> Result<Vec<Resource>, Failure> {
    let text = std::str::from_utf8(body).map_err(|_| Failure::Unreadable("it is not UTF-8"))?;
    let root = parse(text).map_err(Failure::Unreadable)?;
    if !root.is(Ns::Dav, "multistatus") {
        return Err(Failure::Unreadable("it is no multi-status"));
    }
    let found = |propstat: &Element| {
        let status = propstat.child(Ns::Dav, "status");
        status.is_none_or(|status| status.text.split_whitespace().nth(1) == Some("200"))
    };
    let mut resources = Vec::new();
    for mut response in root.children {
        if !response.is(Ns::Dav, "response") {
            continue;
        }
        let href = response.href().map(str::to_owned);
        let href = href.ok_or(Failure::Unreadable("a part of it names no address"))?;
        let mut properties = Vec::new();
        for part in &mut response.children {
            if part.is(Ns::Dav, "propstat") && found(part) {
                let props = part.children.iter_mut().filter(|e| e.is(Ns::Dav, "prop"));
                properties.extend(props.flat_map(|prop| std::mem::take(&mut prop.children)));
            }
        }
        resources.push(Resource { href, properties });
    }
    Ok(resources)
}

/// The components that a calendar says it takes; `None` where it does not say.
pub(crate) fn components(resource: &Resource) -> Option<Vec<&str>> {
    let set = resource.property(Ns::Cal, "supported-calendar-component-set")?;
    Some(
        set.all(Ns::Cal, "comp")
            .filter_map(|comp| comp.named.as_deref())
            .collect(),
    )
}

/// Whether the user may change what lies in it; a server that does not say is asked by trying.
pub(crate) fn writable(resource: &Resource) -> bool {
    let Some(set) = resource.property(Ns::Dav, "current-user-privilege-set") else {
        return true;
    };
    let mut granted = set
        .all(Ns::Dav, "privilege")
        .flat_map(|privilege| &privilege.children);
    granted.any(|p| {
        ["write", "all", "write-content", "bind"]
            .iter()
            .any(|name| p.is(Ns::Dav, name))
    })
}

fn parse(text: &str) -> Result<Element, &'static str> {
    let mut reader = NsReader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut elements = 0;
    loop {
        let (ns, event) = reader.read_resolved_event().map_err(|_| "it is no XML")?;
        let ns = match ns {
            ResolveResult::Bound(ns) => match ns.0 {
                b"DAV:" => Ns::Dav,
                b"urn:ietf:params:xml:ns:caldav" => Ns::Cal,
                b"http://apple.com/ns/ical/" => Ns::Apple,
                b"http://calendarserver.org/ns/" => Ns::Extended,
                _ => Ns::Other,
            },
            ResolveResult::Unbound | ResolveResult::Unknown(_) => Ns::Other,
        };
        let (start, empty) = match event {
            Event::Start(start) => (start, false),
            Event::Empty(start) => (start, true),
            Event::End(_) => {
                let done = open.pop().ok_or("it is no XML")?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => return Ok(done),
                }
                continue;
            }
            other => {
                let piece = match &other {
                    Event::Text(text) => text.decode().map_err(|_| "it is no UTF-8")?,
                    Event::CData(text) => text.decode().map_err(|_| "it is no UTF-8")?,
                    Event::GeneralRef(name) => match name.resolve_char_ref() {
                        Ok(Some(c)) => String::from(c).into(),
                        Ok(None) => {
                            let name = name.decode().map_err(|_| "it is no UTF-8")?;
                            resolve_xml_entity(&name).ok_or("it uses an entity")?.into()
                        }
                        Err(_) => return Err("it uses a character that is none"),
                    },
                    Event::DocType(_) => return Err("it has a document type"),
                    Event::Eof => return Err("it ends early"),
                    _ => continue,
                };
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&piece);
                }
                continue;
            }
        };
        elements += 1;
        if open.len() >= DEPTH || elements > ELEMENTS {
            return Err("it is too deep, or has too many elements");
        }
        let named = start
            .attributes()
            .flatten()
            .find(|a| a.key.as_ref() == b"name");
        let element = Element {
            ns,
            name: String::from_utf8_lossy(start.local_name().as_ref()).into_owned(),
            named: named.map(|a| String::from_utf8_lossy(&a.value).into_owned()),
            text: String::new(),
            children: Vec::new(),
        };
        match (empty, open.last_mut()) {
            (false, _) => open.push(element),
            (true, Some(parent)) => parent.children.push(element),
            (true, None) => return Ok(element),
        }
    }
}

/// A question for properties.
pub(crate) fn propfind(properties: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><d:propfind xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav" xmlns:a="http://apple.com/ns/ical/" xmlns:s="http://calendarserver.org/ns/"><d:prop>{properties}</d:prop></d:propfind>"#
    )
}

/// A question for the objects with a component of this name, all of them or those between two moments in UTC
/// (`20261122T000000Z`).
pub(crate) fn query(component: &str, between: Option<&(String, String)>) -> String {
    let range = between.map_or(String::new(), |(start, end)| {
        format!(r#"<c:time-range start="{start}" end="{end}"/>"#)
    });
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><c:calendar-query xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"><d:prop><d:getetag/><c:calendar-data/></d:prop><c:filter><c:comp-filter name="VCALENDAR"><c:comp-filter name="{component}">{range}</c:comp-filter></c:comp-filter></c:filter></c:calendar-query>"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(xml: &str) -> &'static str {
        match resources(xml.as_bytes()) {
            Err(Failure::Unreadable(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn multistatus_keeps_what_was_found_and_decodes_text() {
        let xml = r#"<D:multistatus xmlns:D="DAV:"><D:response><D:href>/a/</D:href><D:propstat><D:prop>
            <D:displayname>a &amp; &#x1F4C5;<![CDATA[<b>]]></D:displayname></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
            <D:propstat><D:prop><D:getetag>"gone"</D:getetag></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>
            </D:response></D:multistatus>"#;
        let found = resources(xml.as_bytes()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text(Ns::Dav, "displayname"), Some("a & 📅<b>"));
        assert_eq!(found[0].text(Ns::Dav, "getetag"), None);
    }

    #[test]
    fn hostile_xml_is_refused() {
        let entity =
            r#"<!DOCTYPE x [<!ENTITY a "aaaa">]><multistatus xmlns="DAV:">&a;</multistatus>"#;
        assert_eq!(refused(entity), "it has a document type");
        assert_eq!(
            refused(r#"<multistatus xmlns="DAV:">&a;</multistatus>"#),
            "it uses an entity"
        );
        let deep = format!(r#"<multistatus xmlns="DAV:">{}"#, "<x>".repeat(100_000));
        assert_eq!(refused(&deep), "it is too deep, or has too many elements");
        let wide = format!(
            r#"<multistatus xmlns="DAV:">{}</multistatus>"#,
            "<x/>".repeat(ELEMENTS + 1)
        );
        assert_eq!(refused(&wide), "it is too deep, or has too many elements");
        assert_eq!(
            refused(r#"<multistatus xmlns="DAV:"><response>"#),
            "it ends early"
        );
        assert_eq!(refused("<html></html>"), "it is no multi-status");
        assert_eq!(refused("no XML at all"), "it ends early");
        assert!(
            resources(br#"<multistatus xmlns="DAV:"/>"#)
                .unwrap()
                .is_empty(),
            "the control"
        );
    }
}
