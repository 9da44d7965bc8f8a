//! MCP servers in Python that people use, as their packages are: each lent as a person lends it, with what it can and cannot do.

use crate::egress::hosts::{Https, authority};
use plexus_tests::coding_agents::python_packages;
use plexus_tests::texts::assert_contains;
use plexus_tests::{Agent, Folder, Gateway, Response, programs};
use serde_json::{Value, json};
use std::path::Path;

const PYTHON: &str = "/usr/bin/python3";

/// A gateway that lends one server.
struct Lent {
    gateway: Gateway,
    agent: Agent,
}

impl Lent {
    /// The server of the current packages that is the module `mcp_server_<module>`.
    fn module(
        [name, module]: [&str; 2],
        options: &[&str],
        arguments: &[&str],
        tools: &[&str],
    ) -> Self {
        let [packages, _] = python_packages();
        let modules = format!("PYTHONPATH={}", packages.display());
        let module = format!("mcp_server_{module}");
        let gateway = Gateway::start();
        let add = ["mcp", "add", name, "--env", &modules, "--yes"];
        let started = ["--", PYTHON, "-m", &module];
        let added = gateway.cli([&add, options, &started, arguments].concat());
        added.expect_ok();
        Self::of(gateway, name, tools)
    }

    /// A server that is lent as `name`, and an agent of its tools.
    fn of(gateway: Gateway, name: &str, tools: &[&str]) -> Self {
        let agent = gateway.agent_of("caller", name, tools);
        Self { gateway, agent }
    }

    /// Asks, has the owner approve, and calls.
    fn approved(&self, id: &str, input: &Value) -> Response {
        self.agent
            .approved(&self.gateway.owner(), id, input.clone())
    }
}

#[test]
fn time_converts_a_time_as_a_read() {
    let read = ["--read", "convert_time"];
    let lent = Lent::module(["time", "time"], &read, &[], &["convert_time"]);
    // Neither has summer time.
    let input = json!({"time": "10:00", "source_timezone": "Asia/Kolkata", "target_timezone": "Asia/Tokyo"});
    let said = lent.agent.must("time.convert_time", input);
    assert_contains(&said["output"].to_string(), "T13:30:00+09:00");
    let wrong = json!({"time": "10:00", "source_timezone": "Asia/Kolkata", "target_timezone": "Asia/Nowhere"});
    let refused = lent.agent.invoke("time.convert_time", wrong);
    assert_contains(&refused.text(), "tool_failed");
    assert_contains(&refused.text(), "Asia/Nowhere");
}

#[test]
fn sqlite_writes_in_its_folder_after_approval_and_nowhere_else() {
    let [packages, before] = python_packages().map(|path| path.display().to_string());
    let (data, outside) = (Folder::empty(), Folder::empty());
    let at = |folder: &Folder, name: &str| folder.path().join(name).display().to_string();
    let (folder, database) = (at(&data, ""), at(&data, "notes.db"));
    let modules = format!("PYTHONPATH={before}:{packages}");
    let start = format!("{before}/bin/mcp-server-sqlite");
    let gateway = Gateway::start();
    let add = || {
        let add = ["mcp", "add", "notes", "--read", "read_query", "--yes"];
        let given = ["--env", &*modules, "--folder", &folder];
        let program = ["--", PYTHON, &start, "--db-path", &database];
        gateway.cli([&add[..], &given, &program].concat())
    };
    // It opens its file when it starts, and what lists its tools may make none.
    assert_contains(&add().all(), "unable to open database file");
    data.write("notes.db", "");
    add().expect_ok();
    let tools = ["create_table", "write_query", "read_query"];
    let lent = Lent::of(gateway, "notes", &tools);
    let query = |query: &str| json!({ "query": query });
    let create = query("CREATE TABLE notes (id INTEGER, words TEXT)");
    lent.approved("notes.create_table", &create).expect_ok();
    let insert = query("INSERT INTO notes VALUES (1915883588174806059, 'first')");
    let item = lent.agent.must_ask("notes.write_query", insert.clone());
    let select = query("SELECT id, words FROM notes");
    let rows = || {
        let said = lent.agent.must("notes.read_query", select.clone());
        said["output"]["text"].as_str().expect("a text").to_owned()
    };
    assert_eq!(rows(), "[]");
    lent.gateway.owner().approve(&item, "once");
    lent.agent.must("notes.write_query", insert);
    assert_eq!(rows(), "[{'id': 1915883588174806059, 'words': 'first'}]");

    // A copy in its folder is made, and one outside of it is not.
    let copy = |folder: &Folder| query(&format!("VACUUM INTO '{}'", at(folder, "copy.db")));
    let copied = lent.approved("notes.write_query", &copy(&data));
    copied.expect_ok();
    assert!(data.has("copy.db"), "{}", copied.text());
    let refused = lent.approved("notes.write_query", &copy(&outside));
    assert_contains(&refused.text(), "unable to open database");
    assert_eq!(outside.tree(), Vec::<String>::new());
}

#[test]
fn git_starts_without_git_and_its_tools_fail() {
    let repository = Folder::empty();
    let mut init = programs::command(Path::new("/usr/bin/git"), &repository.path());
    init.args(["init", "-q", "."]);
    programs::run(init).expect_ok();
    let path = repository.path().display().to_string();
    let options = ["--env", "GIT_PYTHON_REFRESH=quiet", "--code", &path];
    let lent = Lent::module(["history", "git"], &options, &[], &["git_status"]);
    let refused = lent.approved("history.git_status", &json!({"repo_path": path}));
    assert_contains(&refused.text(), "tool_failed");
    assert_contains(&refused.text(), "Operation not permitted");
}

#[test]
fn fetch_reaches_its_host_and_no_other() {
    let (https, other, code) = (Https::start(), Https::start(), Folder::empty());
    let authority = std::fs::read(authority()).expect("an authority");
    code.write("ca.pem", authority);
    let folder = code.path().display().to_string();
    let trust = format!("SSL_CERT_FILE={folder}/ca.pem");
    let host = format!("localhost:{}", https.port);
    let options = ["--host", &host, "--code", &folder, "--env", &trust];
    let private = ["--allow-private-ips"];
    let lent = Lent::module(["web", "fetch"], &options, &private, &["fetch"]);
    let fetch = |port: u16, raw: bool| {
        let input = json!({"url": format!("https://localhost:{port}/page"), "raw": raw});
        lent.approved("web.fetch", &input)
    };
    let page = fetch(https.port, true);
    assert_contains(&page.expect_ok().to_string(), "this is /page");
    // For a simpler page it starts Node, which its sandbox does not let it.
    assert_contains(&fetch(https.port, false).text(), "tool_failed");
    let heard = https.heads().len();
    assert_eq!(heard, 4, "robots.txt and the page, of each call");
    let refused = fetch(other.port, true);
    assert_contains(&refused.text(), "tool_failed");
    assert_eq!(other.heads(), Vec::<String>::new());
}
