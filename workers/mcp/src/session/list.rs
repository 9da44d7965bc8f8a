//! Lists of a server, page by page: its tools, its resources with the templates of their URIs, its prompts.
//!
//! Invariant: a list of tools is known whole or not at all; of any other, what is not told is named.

use super::{Response, Session, SessionError, taken};
use plexus_ipc::{manifest::ServerFeature, worker::CallContext};
use serde_json::{Map, Value, json, value::to_raw_value};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};
use tokio::time::timeout;

const METHOD_NOT_FOUND: i64 = -32601;
/// Most pages of a list.
const MAX_PAGES: usize = 64;
/// Longest list, in bytes.
const MAX_LIST: usize = 1 << 20;
/// How long the server may take to say what it has beside tools, to the owner who looks at it.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
/// Most that the owner is told of a feature.
const MAX_FOUND: usize = 50;

/// One list of the protocol.
struct List {
    method: &'static str,
    /// Where a page has its entries.
    member: &'static str,
    /// What tells two entries apart.
    key: &'static str,
}

const TOOLS: List = List {
    method: "tools/list",
    member: "tools",
    key: "name",
};
const RESOURCES: List = List {
    method: "resources/list",
    member: "resources",
    key: "uri",
};
const TEMPLATES: List = List {
    method: "resources/templates/list",
    member: "resourceTemplates",
    key: "uriTemplate",
};
const PROMPTS: List = List {
    method: "prompts/list",
    member: "prompts",
    key: "name",
};

/// What a list has.
#[derive(Debug, Default)]
struct Pages {
    entries: Vec<Value>,
    /// What stands for something that came otherwise.
    warnings: Vec<String>,
    /// Why there is more of it.
    cut: Option<&'static str>,
}

impl Session {
    /// Asks for its tools anew.
    pub(super) async fn list(&mut self) -> Result<(), SessionError> {
        // One that is given up on the way is asked for again.
        self.is_listed = false;
        let tools = match self.pages(&TOOLS, None).await {
            // One that offers something else need have none.
            Err(why) if is_unknown(&why) && !self.defined.features.is_empty() => Pages::default(),
            told => told?,
        };
        match tools.cut {
            Some(why) => Err(SessionError::Protocol(why)),
            None => {
                self.defined.tools = tools.entries;
                self.is_listed = true;
                Ok(())
            }
        }
    }

    /// What it has of each feature that it declares, as names for the owner. What it does not list, it has none of.
    pub(crate) async fn found(&mut self) -> BTreeMap<ServerFeature, Vec<String>> {
        let mut found = BTreeMap::new();
        for feature in self.defined.features.clone() {
            let lists: &[List] = match feature {
                ServerFeature::Resources => &[RESOURCES, TEMPLATES],
                ServerFeature::Prompts => &[PROMPTS],
            };
            let mut names = Vec::new();
            for list in lists {
                let told = timeout(FOUND_WITHIN, self.pages(list, None)).await;
                let told = told.unwrap_or(Err(SessionError::Late)).unwrap_or_default();
                let entries = told.entries.iter();
                let keys = entries.filter_map(|entry| entry[list.key].as_str());
                let room = MAX_FOUND - names.len();
                names.extend(keys.take(room).map(str::to_owned));
            }
            found.insert(feature, names);
        }
        found
    }

    /// Its resources, and the templates of their URIs.
    pub(super) async fn resources(&mut self, call: &CallContext) -> Result<Response, SessionError> {
        let resources = self.pages(&RESOURCES, Some(call)).await?;
        let templates = match self.pages(&TEMPLATES, Some(call)).await {
            // Most have none, and some do not know the question.
            Err(why) if is_unknown(&why) => Pages::default(),
            told => told?,
        };
        Ok(listed([(RESOURCES, resources), (TEMPLATES, templates)]))
    }

    /// Its prompts.
    pub(super) async fn prompts(&mut self, call: &CallContext) -> Result<Response, SessionError> {
        let prompts = self.pages(&PROMPTS, Some(call)).await?;
        Ok(listed([(PROMPTS, prompts)]))
    }

    async fn pages(
        &mut self,
        list: &List,
        call: Option<&CallContext>,
    ) -> Result<Pages, SessionError> {
        let (mut pages, mut next, mut held) = (Pages::default(), Value::Null, 0);
        for _ in 0..MAX_PAGES {
            if list.method == TOOLS.method {
                // What it says from here on is about a later list.
                self.stale = false;
            }
            let params = match &next {
                Value::Null => json!({}),
                cursor => json!({ "cursor": cursor }),
            };
            let page = self.request(list.method, params, call).await?;
            pages.warnings.extend(page.changes.sentences("/result"));
            let mut page = page.result;
            match taken(&mut page, list.member) {
                Value::Array(more) => {
                    // Some say so that there is no further page, and some have one there.
                    if next == "" && is_known(&pages.entries, &more, list.key) {
                        return Ok(pages);
                    }
                    for entry in more {
                        held += written(&entry);
                        if held > MAX_LIST {
                            pages.cut = Some("a list of more than 1 MiB");
                            return Ok(pages);
                        }
                        pages.entries.push(entry);
                    }
                }
                // Some leave out what is empty.
                Value::Null if list.method != TOOLS.method => {}
                _ => return Err(SessionError::Protocol("a list that is none")),
            }
            next = taken(&mut page, "nextCursor");
            if next.is_null() {
                return Ok(pages);
            }
        }
        pages.cut = Some("a list without an end");
        Ok(pages)
    }
}

/// Whether a server says that it does not know the method: over HTTP by the status too.
fn is_unknown(why: &SessionError) -> bool {
    match why {
        SessionError::Refused(failure) => failure.code == Some(METHOD_NOT_FOUND),
        SessionError::Status(refusal) => refusal.status == 404,
        _ => false,
    }
}

/// Lists as an answer, each as it came.
fn listed(lists: impl IntoIterator<Item = (List, Pages)>) -> Response {
    let (mut members, mut omitted) = (Map::new(), Vec::new());
    for (list, pages) in lists {
        omitted.extend(pages.warnings);
        let rest = |why| format!("{}: {why}: the rest is left out", list.method);
        omitted.extend(pages.cut.map(rest));
        members.insert(list.member.to_owned(), pages.entries.into());
    }
    Response {
        structured: to_raw_value(&members).ok(),
        omitted,
        ..Response::default()
    }
}

/// Whether all of these entries were listed before, by what tells them apart.
fn is_known(entries: &[Value], more: &[Value], key: &str) -> bool {
    let known: BTreeSet<_> = entries.iter().map(|entry| entry[key].as_str()).collect();
    more.iter()
        .all(|entry| known.contains(&entry[key].as_str()))
}

/// How many bytes of JSON a value is.
fn written(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).map_or(usize::MAX, |()| count.0)
}
