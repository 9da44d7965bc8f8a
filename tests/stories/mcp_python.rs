//! MCP servers in Python as their person starts them: from a virtual environment, in a folder of their own, with modules beside
//! them.

use plexus_tests::{Folder, Gateway, programs, texts::assert_contains};
use serde_json::json;
use std::path::Path;

/// A server whose words come of two modules: one beside it or named, and one of its virtual environment.
const SERVER: &str = r#"
import json, sys
import notes_beside, notes_site

def say(id, result):
    print(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}), flush=True)

for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    if asked["method"] == "initialize":
        say(asked["id"], {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "notes", "version": "1"}})
    elif asked["method"] == "tools/list":
        say(asked["id"], {"tools": [{"name": "hello", "description": "Says hello", "inputSchema": {"type": "object"}}]})
    elif asked["method"] == "tools/call":
        say(asked["id"], {"content": [{"type": "text", "text": notes_beside.WORD + " " + notes_site.WORD}]})
    else:
        say(asked["id"], {})
"#;

/// A project with a virtual environment: `server.py`, a module beside it, another in `lib`.
fn project() -> Folder {
    let project = Folder::empty();
    let mut make = programs::command(Path::new("/usr/bin/python3"), &project.path());
    make.args(["-m", "venv", "--without-pip"])
        .arg(project.path().join(".venv"));
    programs::run(make).expect_ok();
    let lib = project.path().join(".venv/lib");
    let mut versions = std::fs::read_dir(lib).expect("a folder").flatten();
    let version = versions.next().expect("a version").file_name();
    let site = format!(".venv/lib/{}/site-packages", version.to_string_lossy());
    project.write(&format!("{site}/notes_site.py"), "WORD = 'site'\n");
    project.write("notes_beside.py", "WORD = 'beside'\n");
    project.write("lib/notes_beside.py", "WORD = 'named'\n");
    project.write("server.py", SERVER);
    project.write("apart/server.py", SERVER);
    project
}

/// What the tool of the server says.
fn hello(gateway: &Gateway, name: &str) -> String {
    let id = format!("{name}.hello");
    let agent = gateway.agent_with(&format!("of-{name}"), &[&id]);
    let said = agent.must(&id, json!({}));
    said["output"]["text"].as_str().expect("a text").to_owned()
}

#[test]
fn server_of_a_virtual_environment_is_lent_with_its_modules() {
    let (gateway, project) = (Gateway::start(), project());
    let at = |path: &str| project.path().join(path).display().to_string();
    let (python, script) = (at(".venv/bin/python"), at("server.py"));
    let code = at("");
    let add = [
        "mcp", "add", "typed", "--code", &code, "--read", "hello", "--yes", "--",
    ];
    let added = gateway.cli([&add[..], &[&python, &script]].concat());
    assert_contains(added.expect_ok(), "typed.hello");
    assert_eq!(hello(&gateway, "typed"), "beside site");
    // As a client keeps it: relative to a folder, and with a further folder of modules.
    let servers = json!({"mcpServers": {
        "kept": {"command": ".venv/bin/python", "args": ["server.py"], "cwd": at("")},
        "named": {
            "command": ".venv/bin/python", "args": ["apart/server.py"], "cwd": at(""),
            "env": {"PYTHONPATH": "lib"},
        },
        "module": {"command": python, "args": ["-m", "server"], "cwd": at("")},
        "lost": {"command": ".venv/bin/python", "args": ["server.py"], "cwd": at("nowhere")},
    }});
    project.write("mcp.json", servers.to_string());
    let from = at("mcp.json");
    for (name, words) in [
        ("kept", "beside site"),
        ("named", "named site"),
        ("module", "beside site"),
    ] {
        let add = [
            "mcp", "add", name, "--from", &from, "--read", "hello", "--yes",
        ];
        let added = gateway.cli(add);
        assert_contains(added.expect_ok(), &format!("{name}.hello"));
        assert_eq!(hello(&gateway, name), words, "{name}");
    }
    let listed = gateway.cli(["mcp", "add", "--from", &from]);
    assert_contains(&listed.all(), "lost: not lent:");
    assert_contains(&listed.all(), "is no folder with an absolute path");
    // The modules are pinned as the script is.
    project.write("notes_beside.py", "WORD = 'changed'\n");
    let agent = gateway.agent_with("later", &["kept.hello"]);
    let refused = agent.invoke("kept.hello", json!({}));
    assert_ne!(refused.json()["ok"], true, "{}", refused.text());
}

/// One that looks for git when it starts is told what to do, and starts where its person says that it may go without.
#[test]
fn server_that_looks_for_git_is_told_what_to_do() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let begin = "import os, sys\nif os.environ.get('GIT_PYTHON_REFRESH') != 'quiet':\n    sys.exit('Bad git executable. Silence this by $GIT_PYTHON_REFRESH')\n";
    folder.write("notes_beside.py", "WORD = 'beside'\n");
    folder.write("notes_site.py", "WORD = 'site'\n");
    folder.write("server.py", format!("{begin}{SERVER}"));
    let (code, script) = (
        folder.path().display().to_string(),
        folder.path().join("server.py").display().to_string(),
    );
    let add = [
        "mcp", "add", "history", "--code", &code, "--read", "hello", "--yes",
    ];
    let python = ["--", "/usr/bin/python3", &script];
    let refused = gateway.cli([&add[..], &python].concat());
    assert_contains(&refused.all(), "give it --env GIT_PYTHON_REFRESH=quiet");
    let quiet = ["--env", "GIT_PYTHON_REFRESH=quiet"];
    gateway.must_cli([&add[..], &quiet, &python].concat());
    assert_eq!(hello(&gateway, "history"), "beside site");
}
