//! MCP servers from registries: installed once by a lock file with hashes, pinned, and run in their cage.

use crate::mcp_changes::card;
use plexus_tests::texts::assert_lacks;
use plexus_tests::{Folder, Gateway, McpClient, Terminal, coding_agents, programs, registry};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package of npm, and its registry.
fn npm_registry(folder: &Path) -> String {
    let package = folder.join("tiny");
    fs::create_dir(&package).expect("a folder");
    let about = json!({
        "name": "plexus-tiny", "version": "1.0.0", "bin": "server.js",
        "scripts": {"postinstall": "touch was-run"},
    });
    fs::write(package.join("package.json"), about.to_string()).expect("a file");
    fs::write(package.join("server.js"), TINY).expect("a file");
    let mut pack = programs::command(Path::new("npm"), folder);
    pack.args(["pack", "--json"]).current_dir(&package);
    let packed = programs::run(pack).json();
    let tarball = fs::read(package.join("plexus-tiny-1.0.0.tgz")).expect("a tarball");
    registry::serve(move |base, path| {
        let named = json!({
            "name": "plexus-tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
                "name": "plexus-tiny", "version": "1.0.0", "bin": {"plexus-tiny": "server.js"}, "hasInstallScript": true,
                "dist": {"tarball": format!("{base}/t.tgz"), "integrity": packed[0]["integrity"]},
            }},
        });
        let body = match path {
            "/t.tgz" => tarball.clone(),
            _ => named.to_string().into_bytes(),
        };
        ("application/json", body)
    })
}

const TINY: &str = r#"#!/usr/bin/env node
const say = (id, result) => console.log(JSON.stringify({jsonrpc: "2.0", id, result}));
require("readline").createInterface({input: process.stdin}).on("line", line => {
  const {id, method, params} = JSON.parse(line);
  if (id === undefined) return;
  if (method === "initialize") say(id, {protocolVersion: params.protocolVersion, capabilities: {tools: {}}, serverInfo: {name: "tiny", version: "1.0.0"}});
  else if (method === "tools/list") say(id, {tools: [{name: "hello", description: "Says hello", inputSchema: {type: "object"}}]});
  else if (method === "tools/call") say(id, {content: [{type: "text", text: "hello " + process.argv[2]}]});
  else say(id, {});
});
"#;

/// Makes a wheel with a server, whose tool writes where it is told, and gives its bytes.
const WHEEL: &str = r#"
import sys, zipfile
server = '''
import getpass, json, mimetypes, sys

# Reads /etc/mime.types, where there is one; asks for the account by LOGNAME, else in /etc/passwd.
mimetypes.init()
getpass.getuser()

def hello(path):
    try:
        with open(path, "w") as file:
            file.write("hello\\n")
        return "written"
    except OSError as error:
        return type(error).__name__

def main():
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        params = asked.get("params") or {}
        result = {}
        if asked["method"] == "initialize":
            result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                      "serverInfo": {"name": "tiny", "version": "1.0.0"}}
        elif asked["method"] == "tools/list":
            schema = {"type": "object", "properties": {"path": {"type": "string"}}}
            result = {"tools": [{"name": name, "description": "Says hello", "inputSchema": schema}
                                for name in ("hello", "leave")]}
        elif asked["method"] == "tools/call":
            said = sys.argv[1] + " " + hello(params["arguments"]["path"])
            result = {"content": [{"type": "text", "text": said}]}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
'''
about = "plexus_tiny-1.0.0.dist-info/"
files = {
    "plexus_tiny.py": server + sys.argv[2],
    about + "METADATA": "Metadata-Version: 2.1\nName: plexus-tiny\nVersion: 1.0.0\n",
    about + "WHEEL": "Wheel-Version: 1.0\nGenerator: story\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    about + "entry_points.txt": "[console_scripts]\nplexus-tiny = plexus_tiny:main\n",
}
files[about + "RECORD"] = "".join(name + ",,\n" for name in files) + about + "RECORD,,\n"
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
"#;

const WHEEL_NAME: &str = "plexus_tiny-1.0.0-py3-none-any.whl";

/// A wheel whose server ends with `more`.
fn wheel(folder: &Path, more: &str) -> Vec<u8> {
    let place = folder.join(WHEEL_NAME);
    let mut python = programs::command(Path::new("/usr/bin/python3"), folder);
    python.args(["-I", "-c", WHEEL]).arg(&place).arg(more);
    programs::run(python).expect_ok();
    fs::read(place).expect("a wheel")
}

/// A simple index that names `wheel` with the hash of `named`.
fn index(named: &[u8], wheel: Vec<u8>) -> String {
    let hash = plexus_protocol::Digest::of(named).to_string();
    let base = registry::serve(move |_, path| match path.ends_with(".whl") {
        true => ("application/octet-stream", wheel.clone()),
        false => {
            let page = format!("<a href=\"/w/{WHEEL_NAME}#sha256={hash}\">{WHEEL_NAME}</a>");
            ("text/html", page.into_bytes())
        }
    });
    format!("{base}/simple/")
}

/// `plexusctl mcp install …` with a registry of this machine.
fn installing(gateway: &Gateway, registry: [&str; 2], words: &[&str]) -> programs::Said {
    let mut command = programs::command(&plexus_tests::binaries::path("plexusctl"), gateway.home());
    command
        .env("PLEXUS_HOME", gateway.state())
        .env(registry[0], registry[1])
        .args(["--i-am-the-owner", "mcp", "install"])
        .args(words);
    programs::run(command)
}

/// The same of the server `tiny`.
fn install(gateway: &Gateway, registry: [&str; 2], package: &str, more: &[&str]) -> programs::Said {
    let words = ["tiny", package, "--read", "hello", "--yes"];
    let words = [&words, more, &["--", "you"]].concat();
    installing(gateway, registry, &words)
}

/// Where the server `tiny` is installed.
fn place(gateway: &Gateway) -> PathBuf {
    let mut place = gateway.state().into_os_string();
    place.push("-servers/tiny");
    place.into()
}

#[test]
fn server_of_npm_is_locked_runs_no_script_and_is_pinned() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let base = npm_registry(&folder.path());
    let registry = ["npm_config_registry", &base];
    install(&gateway, registry, "npm:plexus-tiny@latest", &[]).expect_status(64);
    let place = place(&gateway);
    // Ctrl-C once it is shown: the next install begins anew.
    let package = "npm:plexus-tiny@1.0.0";
    let mut line = gateway.on_terminal(["mcp", "install", "tiny", package, "--read", "hello"]);
    line.env(registry[0], registry[1]);
    let mut terminal = Terminal::start(&line, 120, 40);
    terminal.until_shows("install npm:plexus-tiny@1.0.0? [y/N]");
    terminal.keys("y\r");
    terminal.until_shows("add tiny as shown? [y/N]");
    terminal.keys("\u{3}");
    assert!(!terminal.end().success());
    assert!(place.join("package-lock.json").exists());
    let installed = install(&gateway, registry, package, &[]);
    assert!(installed.expect_ok().contains("tiny.hello"), "{installed}");
    // Its program is not there yet when the rest of what is asked for is checked: no reason for a warning.
    assert_lacks(&gateway.stderr(), "source.silent");
    let lock = fs::read_to_string(place.join("package-lock.json")).expect("a lock file");
    assert!(lock.contains("sha512-"), "{lock}");
    assert!(!place.join("node_modules/plexus-tiny/was-run").exists());
    let again = install(&gateway, registry, package, &[]);
    again.expect_status(1);
    assert!(
        again.stderr.contains("plexusctl mcp remove tiny"),
        "{again}"
    );
    let agent = gateway.agent_with("caller", &["tiny.hello"]);
    let said = agent.must("tiny.hello", json!({}));
    assert_eq!(said["output"]["text"], "hello you", "{said}");
    // A file, or the lock, is another: the owner is asked.
    let mut gateway = gateway;
    gateway.stop();
    fs::write(place.join("package-lock.json"), lock + "\n").expect("a file");
    gateway.start_again();
    assert!(card(&gateway).to_string().contains("run the files in"));
    // The installed folder outlives the server, and the next install says what to delete.
    let removed = gateway.cli(["mcp", "remove", "tiny"]);
    removed.expect_ok();
    let left = install(&gateway, registry, package, &[]);
    left.expect_status(1);
    let delete = format!("rm -r {}", place.display());
    assert!(left.stderr.contains(&delete), "{left}");
    assert!(!left.stderr.contains("mcp remove"), "{left}");
}

/// What no server is given is refused before anything is fetched.
#[test]
fn refused_folder_is_named_before_the_install() {
    let (gateway, project) = (Gateway::start(), Folder::empty());
    project.write(".git/HEAD", "ref: refs/heads/main\n");
    project.write("notes/a.md", "a\n");
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counts = asked.clone();
    let base = registry::serve(move |_, _| {
        counts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        ("application/json", b"{}".to_vec())
    });
    let registry = ["npm_config_registry", &*base];
    let folder = |path: &str| project.path().join(path).display().to_string();
    let refused = install(
        &gateway,
        registry,
        "npm:plexus-tiny@1.0.0",
        &["--folder", &folder("")],
    );
    refused.expect_status(1);
    assert!(refused.stderr.contains("holds .git"), "{refused}");
    assert!(!place(&gateway).exists());
    let asked = || asked.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(asked(), 0, "nothing is fetched");
    // The control: a folder in it is given, and the registry is asked.
    let inside = folder("notes");
    let given = ["--folder", &inside];
    install(&gateway, registry, "npm:plexus-tiny@1.0.0", &given).expect_status(1);
    assert!(asked() > 0);
}

#[test]
fn server_of_pypi_is_locked_caged_and_pinned() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let good = wheel(&folder.path(), "");
    let other = wheel(&folder.path(), "\nprint('another')\n");
    let package = "pypi:plexus-tiny==1.0.0";
    let may = Folder::empty();
    let more = ["--folder", &may.path().display().to_string()];
    // The index names one wheel and gives another.
    let lying = index(&good, other);
    let refused = install(&gateway, ["PIP_INDEX_URL", &lying], package, &more);
    refused.expect_status(1);
    assert!(refused.stderr.contains("install_failed"), "{refused}");
    assert!(!place(&gateway).exists(), "what is not lent is removed");
    assert!(!gateway.state().join("extensions/tiny.json").exists());

    let honest = index(&good, good.clone());
    let installed = install(&gateway, ["PIP_INDEX_URL", &honest], package, &more);
    assert!(installed.expect_ok().contains("tiny.hello"), "{installed}");
    let lock = fs::read_to_string(place(&gateway).join("requirements.lock")).expect("a lock file");
    let hash = plexus_protocol::Digest::of(&good);
    assert_eq!(
        lock,
        format!("plexus-tiny==1.0.0 --hash=sha256:{hash}\n"),
        "every package has its hash"
    );
    let agent = gateway.agent_with("caller", &["tiny.hello", "tiny.leave"]);
    let at = |name: &str| json!({"path": may.path().join(name)});
    let said = agent.must("tiny.hello", at("read"));
    assert_eq!(said["output"]["text"], "you PermissionError", "{said}");
    assert!(!may.has("read"));
    // The control: the same write of a call that the owner approved, in the folder that the server may change.
    let approved = |input: &Value| {
        agent.must_approved(&gateway.owner(), "tiny.leave", input.clone())["output"]["text"].take()
    };
    assert_eq!(approved(&at("made")), "you written");
    assert_eq!(may.read("made"), "hello\n");
    let outside = folder.path().join("made");
    assert_eq!(approved(&json!({"path": outside})), "you PermissionError");

    // Another wheel in its place: the owner is asked before it serves.
    let mut gateway = gateway;
    gateway.stop();
    let module = place(&gateway).join("site/plexus_tiny.py");
    let text = fs::read_to_string(&module).expect("the module");
    fs::write(&module, text + "\nprint('another')\n").expect("a file");
    gateway.start_again();
    assert!(card(&gateway).to_string().contains("run the files in"));
}

#[test]
fn filesystem_server_writes_in_two_folders_and_nowhere_else() {
    let gateway = Gateway::start();
    let (one, two, other) = (Folder::empty(), Folder::empty(), Folder::empty());
    let path = |folder: &Folder, name: &str| folder.path().join(name).display().to_string();
    // The server itself would write in all three: the third is not lent, and only the cage keeps it from there.
    let [first, second, third] =
        [&one, &two, &other].map(|folder| folder.path().display().to_string());
    let base = registry::npm_with("server-filesystem");
    let words = [
        "files",
        "npm:@modelcontextprotocol/server-filesystem@2026.8.31",
        "--folder",
        &first,
        "--folder",
        &second,
        "--read",
        "read_text_file",
        "--yes",
        "--",
        &first,
        &second,
        &third,
    ];
    let added = installing(&gateway, ["npm_config_registry", &base], &words);
    assert!(added.expect_ok().contains("files.write_file"), "{added}");
    let tools = [
        "files.read_text_file",
        "files.write_file",
        "files.move_file",
    ];
    let agent = gateway.agent_with("caller", &tools);
    let approved = |tool: &str, input: Value| agent.approved(&gateway.owner(), tool, input);
    let input = json!({"path": path(&one, "note.md"), "content": "tea\n"});
    approved("files.write_file", input).expect_ok();
    assert_eq!(one.read("note.md"), "tea\n");
    let input = json!({"source": path(&one, "note.md"), "destination": path(&two, "moved.md")});
    approved("files.move_file", input).expect_ok();
    assert!(!one.has("note.md"));
    let input = json!({"path": path(&two, "moved.md")});
    let read = agent.must("files.read_text_file", input);
    assert!(read["output"]["text"] == "tea\n", "{read}");
    let input = json!({"path": path(&other, "note.md"), "content": "tea\n"});
    let refused = approved("files.write_file", input.clone()).json();
    assert!(refused.to_string().contains("EACCES"), "{refused}");
    assert!(!other.has("note.md"));
    // The control: the same server without a cage.
    let (_, script) = coding_agents::reference_server("server-filesystem");
    let mut free = Command::new(coding_agents::node());
    free.arg(script).args([&first, &second, &third]);
    McpClient::greeted(free, "control").call("write_file", input);
    assert_eq!(other.read("note.md"), "tea\n");
}
