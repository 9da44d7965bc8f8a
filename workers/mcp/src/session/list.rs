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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{
        Request,
        scripted::{Scripted, session},
    };
    use plexus_ipc::{manifest::ServerMethod, worker::Role};

    fn call() -> CallContext {
        CallContext::detached(Role::Reader, None, Duration::from_secs(60))
    }

    fn tools(names: impl IntoIterator<Item = usize>) -> Vec<Value> {
        let names = names.into_iter();
        names.map(|n| json!({"name": n.to_string()})).collect()
    }

    /// A session with a server of tools, whose pages are these, by the cursor that asks for each; `-` asks for the first.
    async fn with_pages(pages: Value) -> Result<Session, SessionError> {
        let answers = move |_: &str, params: &Value| {
            let cursor = params["cursor"].as_str().unwrap_or("-");
            Scripted::Result(pages[cursor].clone())
        };
        session(json!({"tools": {}}), answers).await
    }

    #[tokio::test]
    async fn tools_are_read_page_by_page() {
        let (one, two) = (tools([1]), tools([2]));
        let three = tools([1, 2]);
        #[rustfmt::skip]
        let rows = [
            (json!({"-": {"tools": one}}), 1),
            (json!({"-": {"tools": one, "nextCursor": null}}), 1),
            (json!({"-": {"tools": one, "nextCursor": "b"}, "b": {"tools": two}}), 2),
            // A page without an entry is no end of the list, and an entry that comes again is no end either.
            (json!({"-": {"tools": [], "nextCursor": "b"}, "b": {"tools": one, "nextCursor": "c"}, "c": {"tools": three}}), 3),
            // An empty cursor ends the list, unless there is a page of that name.
            (json!({"-": {"tools": one, "nextCursor": ""}, "": {"tools": one, "nextCursor": ""}}), 1),
            (json!({"-": {"tools": one, "nextCursor": ""}, "": {"tools": three}}), 3),
        ];
        for (pages, count) in rows {
            let session = with_pages(pages.clone()).await;
            let session = session.unwrap_or_else(|why| panic!("{pages}: {why}"));
            assert_eq!(session.defined.tools.len(), count, "{pages}");
            assert!(!session.is_stale(), "{pages}");
        }
    }

    #[tokio::test]
    async fn tools_that_are_not_known_whole_are_refused() {
        let refused = async |pages: Value| {
            let why = with_pages(pages).await.expect_err("no list");
            assert!(matches!(why, SessionError::Protocol(_)), "{why}");
            why.to_string()
        };
        for none in [json!({"tools": null}), json!({"tools": 7}), json!({})] {
            assert!(
                refused(json!({ "-": none }))
                    .await
                    .contains("a list that is none")
            );
        }
        // 64 pages, and one more.
        let pages = |count: usize| {
            let of = |n: usize| {
                let name = if n == 0 {
                    "-".to_owned()
                } else {
                    n.to_string()
                };
                let next = (n + 1 < count).then(|| (n + 1).to_string());
                (name, json!({"tools": tools([n]), "nextCursor": next}))
            };
            Value::Object((0..count).map(of).collect())
        };
        let most = with_pages(pages(MAX_PAGES)).await.unwrap();
        assert_eq!(most.defined.tools.len(), MAX_PAGES);
        let why = refused(pages(MAX_PAGES + 1)).await;
        assert!(why.contains("a list without an end"), "{why}");
        // 1 MiB in two tools, a byte more, and far more.
        let sized = |bytes: usize| {
            let empty = json!({"name": ""}).to_string().len();
            let name = "x".repeat(bytes - 100 - empty);
            let other = "y".repeat(100 - empty);
            json!({"-": {"tools": [{"name": name}, {"name": other}]}})
        };
        assert!(with_pages(sized(MAX_LIST)).await.is_ok());
        for bytes in [MAX_LIST + 1, 2 * MAX_LIST] {
            let why = refused(sized(bytes)).await;
            assert!(why.contains("a list of more than 1 MiB"), "{why}");
        }
    }

    #[tokio::test]
    async fn list_of_tools_that_a_server_does_not_know_is_empty() {
        let of = async |features: Value, answer: fn() -> Scripted| {
            let session = session(features, move |_, _| answer()).await;
            session.map(|session| session.defined.tools.len())
        };
        let (both, none) = (json!({"prompts": {}}), json!({"prompts": false}));
        let unknown = [
            || Scripted::Error(METHOD_NOT_FOUND),
            || Scripted::Status(404),
        ];
        for answer in unknown {
            assert!(matches!(of(both.clone(), answer).await, Ok(0)));
            // The control: one that has nothing else has to have tools.
            let why = of(none.clone(), answer).await.unwrap_err();
            assert!(is_unknown(&why), "{why}");
        }
        for broken in [|| Scripted::Error(-32603), || Scripted::Status(503)] {
            let why = of(both.clone(), broken).await.unwrap_err();
            assert!(!is_unknown(&why), "{why}");
        }
    }

    /// A server with so many resources and templates, whose prompts come after so long.
    async fn offering(resources: usize, templates: usize, prompts_after: u64) -> Session {
        let entries = |count: usize, key: &str| -> Vec<Value> {
            (0..count)
                .map(|n| json!({key: format!("{key}{n}")}))
                .collect()
        };
        let answers = move |method: &str, _: &Value| match method {
            "tools/list" => Scripted::Result(json!({"tools": []})),
            "resources/list" => Scripted::Result(json!({"resources": entries(resources, "uri")})),
            "resources/templates/list" if templates == 0 => Scripted::Error(METHOD_NOT_FOUND),
            "resources/templates/list" => {
                Scripted::Result(json!({"resourceTemplates": entries(templates, "uriTemplate")}))
            }
            "prompts/list" => Scripted::Late(
                json!({"prompts": [{"name": "talk"}, {"title": "no name"}]}),
                Duration::from_secs(prompts_after),
            ),
            _ => Scripted::Error(METHOD_NOT_FOUND),
        };
        let features = json!({"resources": {}, "prompts": {}});
        session(features, answers).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn owner_is_told_what_a_server_has_up_to_a_bound() {
        for (resources, templates, named) in [(2, 0, 2), (3, 4, 7), (30, 30, 50), (60, 60, 50)] {
            let found = offering(resources, templates, 0).await.found().await;
            let of = &found[&ServerFeature::Resources];
            assert_eq!(of.len(), named, "{of:?}");
            assert_eq!(of[1], "uri1");
            assert_eq!(found[&ServerFeature::Prompts], ["talk"]);
        }
        let found = offering(1, 1, 11).await.found().await;
        assert_eq!(found[&ServerFeature::Resources], ["uri0", "uriTemplate0"]);
        assert_eq!(found[&ServerFeature::Prompts], [""; 0], "it took too long");
    }

    async fn asked(session: &mut Session, method: ServerMethod) -> Result<Response, SessionError> {
        session
            .call(Request::Method(method), &json!({}), &call())
            .await
    }

    fn told(response: &Response) -> Value {
        let text = response.structured.as_ref().expect("a list").get();
        serde_json::from_str(text).unwrap()
    }

    #[tokio::test]
    async fn lists_beside_tools_are_told_as_they_came() {
        let mut session = offering(1, 1, 0).await;
        // A list of resources says nothing about that of tools.
        session.stale = true;
        let lists = asked(&mut session, ServerMethod::ListResources)
            .await
            .unwrap();
        assert!(session.stale);
        assert_eq!(
            told(&lists),
            json!({"resources": [{"uri": "uri0"}], "resourceTemplates": [{"uriTemplate": "uriTemplate0"}]})
        );
        let lists = asked(&mut session, ServerMethod::ListPrompts)
            .await
            .unwrap();
        assert_eq!(
            told(&lists),
            json!({"prompts": [{"name": "talk"}, {"title": "no name"}]})
        );
        assert_eq!(lists.omitted, [""; 0]);
        session.list().await.unwrap();
        assert!(!session.stale);

        let mut session = offering(1, 0, 0).await;
        let lists = asked(&mut session, ServerMethod::ListResources)
            .await
            .unwrap();
        assert_eq!(
            told(&lists),
            json!({"resources": [{"uri": "uri0"}], "resourceTemplates": []})
        );
    }

    #[tokio::test]
    async fn list_that_is_cut_or_left_out_says_so() {
        let of = async |resources: fn() -> Scripted, templates: fn() -> Scripted| {
            let answers = move |method: &str, _: &Value| match method {
                "tools/list" => Scripted::Result(json!({"tools": []})),
                "resources/list" => resources(),
                _ => templates(),
            };
            let session = session(json!({"resources": {}}), answers).await;
            asked(&mut session.unwrap(), ServerMethod::ListResources).await
        };
        let none = || Scripted::Result(json!({}));
        let lists = of(none, none).await.unwrap();
        assert_eq!(lists.omitted, [""; 0]);
        let long = || {
            let name = "x".repeat(MAX_LIST);
            Scripted::Result(
                json!({"resources": [{"uri": "a://1"}, {"uri": name}, {"uri": "a://2"}]}),
            )
        };
        let lists = of(long, none).await.unwrap();
        assert_eq!(
            told(&lists),
            json!({"resources": [{"uri": "a://1"}], "resourceTemplates": []})
        );
        let cut = "resources/list: a list of more than 1 MiB: the rest is left out";
        assert_eq!(lists.omitted, [cut]);
        let broken = of(none, || Scripted::Error(-32603)).await;
        assert!(
            matches!(broken, Err(SessionError::Refused(_))),
            "{broken:?}"
        );
    }
}
