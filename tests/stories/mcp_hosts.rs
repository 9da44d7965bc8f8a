//! Lent MCP servers that reach hosts: those that the owner named, by way of the source's egress, and no other.

use crate::egress::hosts::{Https, authority};
use crate::mcp::{Desk, claude_asked, claude_desk, codex_asked, codex_desk, waiting};
use plexus_tests::{
    Agent, Folder, Gateway, Listener, Model, Step,
    coding_agents::{Conversation, node, server_packages},
    texts::{assert_contains, assert_lacks},
    waiting::until,
};
use serde_json::{Value, json};

/// A secret of the server's, which it is given as a variable.
const TOKEN: &str = "tok-51d0c6a2e94b";

/// The server on Python's own library: program, script, and the variable that names an authority.
const PYTHON: [&str; 3] = ["/usr/bin/python3", "server.py", "SSL_CERT_FILE"];
const PYTHON_SERVER: &str = include_str!("../fixture/mcp-hosts/fetching.py");

/// A gateway and a server that gets URLs, which may reach one host.
struct Fetching {
    gateway: Gateway,
    https: Https,
    _code: Folder,
    agent: Agent,
}

impl Fetching {
    /// By Python's own library.
    fn python() -> Self {
        let [program, script, trust] = PYTHON;
        let code = Folder::empty();
        code.write(script, PYTHON_SERVER);
        Self::lent(code, program, script, trust, &["fetch", "around"])
    }

    /// By a package of npm's, and by Node's own `fetch`.
    fn node(program: &str) -> Self {
        let code = Folder::empty();
        let text = include_str!("../fixture/mcp-hosts/fetching.mjs");
        code.write("server.mjs", text);
        let _ = server_packages(&code);
        let tools = ["fetch", "own"];
        Self::lent(code, program, "server.mjs", "NODE_EXTRA_CA_CERTS", &tools)
    }

    fn lent(code: Folder, program: &str, script: &str, trust: &str, tools: &[&str]) -> Self {
        let (gateway, https) = (Gateway::start(), Https::start());
        let shown = lend(&gateway, https.port, &code, [program, script, trust]);
        for said in [
            format!("network      localhost:{}, and nothing else", https.port),
            "the secret TOKEN".to_owned(),
        ] {
            assert_contains(&shown, &said);
        }
        assert_lacks(&shown, TOKEN);
        let agent = gateway.agent_of("caller", "net", tools);
        Self {
            gateway,
            https,
            _code: code,
            agent,
        }
    }

    /// Asks, has the owner approve, and calls.
    fn call(&self, tool: &str, input: &Value) -> plexus_tests::Response {
        let id = format!("net.{tool}");
        self.agent
            .approved(&self.gateway.owner(), &id, input.clone())
    }

    fn fetch(&self, tool: &str, port: u16) -> plexus_tests::Response {
        self.call(
            tool,
            &json!({"url": format!("https://localhost:{port}/page")}),
        )
    }

    /// The host that was named is reached, and another that would answer is not.
    fn reaches_its_host_alone(&self) {
        let page = self.fetch("fetch", self.https.port).expect_ok();
        assert_eq!(page["output"]["text"], "this is /page", "{page}");
        let other = Https::start();
        let refused = self.fetch("fetch", other.port);
        assert_contains(&text(&refused), "hosts that are named with --host");
        assert_eq!(other.heads(), Vec::<String>::new());
        // The control: a host that is reached has it in its list.
        assert_eq!(self.https.heads().len(), 1, "{:?}", self.https.heads());
        // The owner sees both.
        for (port, verdict) in [(self.https.port, "admitted"), (other.port, "unlisted")] {
            until("the egress reports", || {
                let events = self.gateway.owner().audit(1000);
                let lines = events
                    .iter()
                    .filter(|event| event["detail"]["event"] == "worker.egress")
                    .flat_map(|event| event["detail"]["connections"].as_array().expect("a list"));
                lines
                    .into_iter()
                    .find(|line| line["port"] == port && line["verdict"] == verdict)
                    .cloned()
            });
        }
    }
}

/// Lends the script in `code` as `net`, with a host at `port` of this machine: what is shown of it.
fn lend(gateway: &Gateway, port: u16, code: &Folder, server: [&str; 3]) -> String {
    let [program, script, trust] = server;
    let authority = std::fs::read_to_string(authority()).expect("an authority");
    code.write("ca.pem", authority);
    let token = Folder::empty();
    token.write("token", TOKEN);
    let at = |name: &str| code.path().join(name).display().to_string();
    let added = gateway.cli([
        "mcp",
        "add",
        "net",
        "--host",
        &format!("localhost:{port}"),
        "--code",
        &code.path().display().to_string(),
        "--env",
        &format!("{trust}={}", at("ca.pem")),
        "--secret",
        &format!("TOKEN={}", token.path().join("token").display()),
        "--yes",
        "--",
        program,
        &at(script),
    ]);
    added.expect_ok().to_owned()
}

#[test]
fn python_server_reaches_the_host_that_was_named_and_no_other() {
    let lent = Fetching::python();
    let id = "net.fetch";
    let item = lent
        .agent
        .must_ask(id, json!({"url": "https://localhost/"}));
    let card = lent.gateway.owner().card(&item).to_string();
    let reaches = format!(
        "localhost:{} and nothing else of the network",
        lent.https.port
    );
    assert_contains(&card, &reaches);
    let reads = json!({"name": "reads its secret", "value": "TOKEN"});
    assert_contains(&card, &reads.to_string());
    lent.reaches_its_host_alone();

    // Past the proxy it reaches nobody, though somebody listens.
    let listener = Listener::start();
    let input = json!({"port": listener.port()});
    let refused = lent.call("around", &input);
    assert_contains(&text(&refused), "PermissionError");
    assert_eq!(listener.heard(), Vec::<String>::new());

    // It outlives a restart of the gateway, whose egress has another port and credential.
    let mut lent = lent;
    lent.gateway.restart();
    lent.agent = lent.gateway.agent_with("later", &["net.fetch"]);
    let page = lent.fetch("fetch", lent.https.port).expect_ok();
    assert_eq!(page["output"]["text"], "this is /page", "{page}");
}

#[test]
fn node_server_reaches_its_host_by_a_package_and_is_told_why_not_without() {
    let lent = Fetching::node("/usr/bin/node");
    lent.reaches_its_host_alone();
    // The system's own is older than what its fetch takes.
    let own = lent.fetch("own", lent.https.port);
    assert_contains(&text(&own), "Node's own fetch uses from 22.21 and 24.5 on");
    assert_eq!(lent.https.heads().len(), 1);
    // The control: a newer one.
    let lent = Fetching::node(&node().display().to_string());
    let page = lent.fetch("own", lent.https.port).expect_ok();
    assert_eq!(page["output"]["text"], "this is /page", "{page}");
}

#[test]
fn tool_of_a_server_with_hosts_is_no_read() {
    let lent = Fetching::python();
    let read = ["mcp", "refresh", "net", "--read", "fetch", "--yes"];
    let refused = lent.gateway.cli(read);
    refused.expect_status(1);
    let why = "fetch can be no read: the server reaches hosts";
    assert_contains(&refused.stderr, why);
    lent.agent
        .must_ask("net.fetch", json!({"url": "https://localhost/"}));
    let shown = lent.gateway.cli(["mcp", "show", "net"]);
    assert_contains(shown.expect_ok(), "tool fetch: asks you each time");
}

/// A real client has the page of the host, once its owner has approved.
fn used(desk: &Desk, ask: impl Fn(&Model, &Desk) -> Conversation + Sync) {
    let (https, code) = (Https::start(), Folder::empty());
    code.write(PYTHON[1], PYTHON_SERVER);
    lend(&desk.house.gateway, https.port, &code, PYTHON);
    let url = json!({"url": format!("https://localhost:{}/page", https.port)});
    let model = Model::start([
        Step::mcp("plexus", "net_fetch", url),
        Step::say("That is all."),
    ]);
    let went = std::thread::scope(|scope| {
        let talking = scope.spawn(|| ask(&model, desk));
        let item = waiting(&desk.house);
        assert_eq!(https.heads(), Vec::<String>::new());
        desk.house.owner().approve(&item, "once");
        talking.join().expect("a conversation")
    });
    went.expect_ok();
    model.finish();
    assert_contains(&model.results()[0], "this is /page");
    assert_eq!(https.heads().len(), 1);
}

#[test]
fn claude_has_a_page_of_the_host() {
    used(&claude_desk(), claude_asked);
}

#[test]
fn codex_has_a_page_of_the_host() {
    used(&codex_desk(), |model, desk| codex_asked(model, desk, &[]));
}

fn text(response: &plexus_tests::Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}
