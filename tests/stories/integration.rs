//! Setting an agent up on another machine (docs/protocol/owner.md#set-up-another-machine): what the owner fetches, and
//! what the scripts do there.

use crate::house::{House, READ, report};
use plexus_tests::coding_agents::{ask_claude, claude};
use plexus_tests::programs::{self, Said};
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like, list_of};
use plexus_tests::waiting::until_true;
use plexus_tests::{Agent, Folder, Model, Response, Step, binaries};
use serde_json::{Value, json};
#[cfg(target_os = "linux")]
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

fn material(house: &House, path: &str) -> Response {
    house.owner().get(&format!("/integration/{path}"))
}

fn connect(house: &House, agent: &str, kind: Option<&str>) -> Value {
    let mut body = json!({"agentId": agent, "capabilities": [READ, "workspace.write"]});
    if let Some(kind) = kind {
        body["agentType"] = kind.into();
    }
    house.owner().connect_as(body).expect_ok()
}

#[test]
fn each_form_has_its_material() {
    let house = House::open();
    let base = house.gateway.base();
    connect(&house, "cc", Some("claude-code"));
    let first = material(&house, "cc").expect_ok();
    assert_eq!(first["agentType"], "claude-code");
    assert_eq!(first["dirName"], "plexus@cc");
    let version = first["version"].as_str().expect("a version");
    let digits = version.strip_prefix("0.1.0-c").expect("a stamp");
    assert!(digits.chars().all(|c| c.is_ascii_digit()), "{version}");
    let code = first["enrollCode"].as_str().expect("a code");
    let command =
        format!("curl -fsSL {base}/integration/cc/install.sh | PLEXUS_ENROLL_CODE=\"{code}\" bash");
    assert_eq!(first["installCommand"], command);
    assert_eq!(
        first["capabilities"],
        json!([READ]),
        "live standing grants only"
    );
    let like = json!({"alreadyEnrolled": false, "reissued": false});
    assert_like(&first, &like);
    let files: Vec<(&str, u64)> = list_of(&first["files"])
        .iter()
        .map(|file| {
            (
                file["path"].as_str().expect("a path"),
                file["mode"].as_u64().expect("a mode"),
            )
        })
        .collect();
    for file in [
        (".claude-plugin/plugin.json", 420),
        (".claude-plugin/marketplace.json", 420),
        ("skills/use-plexus/SKILL.md", 420),
        ("README.md", 420),
        ("bin/plexus", 493),
        ("bin/plexus-cc", 493),
        ("install.sh", 493),
    ] {
        assert!(files.contains(&file), "{file:?} is not among {files:?}");
    }

    connect(&house, "gen", Some("generic"));
    let generic = material(&house, "gen").expect_ok();
    let setup = format!("curl -fsSL {base}/integration/gen/setup.sh | bash");
    let like = json!({"setupCommand": setup, "installCommand": setup});
    assert_like(&generic, &like);
    let enroll = generic["enrollCommand"].as_str().expect("a command");
    let launcher = house.gateway.state().join("agents/gen/bin/plexus");
    let code = generic["enrollCode"].as_str().expect("a code");
    assert_eq!(enroll, format!("{} enroll {code}", launcher.display()));

    connect(&house, "ic", Some("in-context"));
    let context = material(&house, "ic").expect_ok();
    assert_eq!(context["installCommand"], "");
    for member in [
        "instruction",
        "enrollHint",
        "enrollCode",
        "manual",
        "codeExpiresAt",
    ] {
        assert!(context[member].is_string(), "{member}: {context}");
    }
    assert_contains(&context["instruction"].to_string(), "plexus list");
}

#[test]
fn codes_are_made_where_they_are_needed_and_end_nothing_unasked() {
    let house = House::open();
    let client = house.gateway.client();
    let redeem = |code: &Value| client.post("/agents/enroll", json!({"code": code}));
    let connected = connect(&house, "plain", None);
    let first = material(&house, "plain").expect_ok();
    assert_eq!(first["agentType"], "claude-code", "an agent without a type");
    let second = material(&house, "plain").expect_ok();
    for dead in [&connected["code"], &first["enrollCode"]] {
        redeem(dead).expect_error(401, "unknown_code");
    }
    // Asking whether there is something ends no code.
    let head = house
        .owner()
        .client
        .request("HEAD", "/integration/plain")
        .send();
    assert_eq!(head.status, 200);
    let pat = redeem(&second["enrollCode"]).expect_ok()["pat"].clone();
    let pat = pat.as_str().expect("a credential");
    let agent = Agent::with_pat(&client, "plain", pat);
    agent.must(READ, report());

    let enrolled = material(&house, "plain").expect_ok();
    assert_eq!(enrolled["alreadyEnrolled"], true);
    assert!(enrolled.get("enrollCode").is_none() && enrolled.get("codeExpiresAt").is_none());
    assert_lacks(
        enrolled["installCommand"].as_str().expect("a command"),
        "PLEXUS_ENROLL_CODE",
    );
    agent.must(READ, report());

    // Another form is kept, and keeps a reissue from happening.
    let other = material(&house, "plain?as=generic&reissue=1").expect_ok();
    assert_like(&other, &json!({"agentType": "generic", "reissued": false}));
    assert_eq!(
        material(&house, "plain?as=bogus").expect_ok()["agentType"],
        "generic"
    );
    agent.must(READ, report());

    let again = material(&house, "plain?reissue=yes").expect_ok();
    assert_like(&again, &json!({"alreadyEnrolled": true, "reissued": true}));
    agent.must_fail(READ, report(), 401, "session_expired");
    plexus_tests::agent::handshake(&client, pat).expect_error(401, "session_expired");
    let fresh = redeem(&again["enrollCode"]).expect_ok();
    let fresh = Agent::with_pat(
        &client,
        "plain",
        fresh["pat"].as_str().expect("a credential"),
    );
    fresh.must(READ, report());
    let event = house
        .owner()
        .audited(|event| event["detail"]["event"] == "agent.deliver");
    assert_eq!(event["detail"]["reissued"], true);
}

#[test]
fn who_may_fetch_what() {
    let house = House::open();
    let client = house.gateway.client();
    connect(&house, "cc", Some("claude-code"));
    let waits = connect(&house, "gen", Some("generic"));
    client
        .get("/integration/cc")
        .expect_error(401, "unauthorized");
    client
        .with("x-plexus-connection-key", "x")
        .get("/integration/cc")
        .expect_error(401, "unauthorized");
    material(&house, "nobody").expect_error(404, "unknown_agent");
    material(&house, "plexus-admin").expect_error(400, "internal_error");
    let script = |path: &str| {
        let reply = client.get(&format!("/integration/{path}"));
        assert_eq!(
            reply.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        (reply.status, reply.text())
    };
    for (path, status) in [
        ("cc/install.sh", 200),
        ("gen/setup.sh", 200),
        ("plexus-admin/install.sh", 400),
        ("plexus-admin/engine/linux-x86_64", 400),
        ("cc/engine/plan9-vax", 404),
    ] {
        let (found, text) = script(path);
        assert_eq!(found, status, "{path}: {text}");
        assert!(
            !text.contains("plx_") && !text.contains(READ),
            "{path}: {text}"
        );
    }
    // A script that is fetched ends no code (E25).
    client.must_post("/agents/enroll", json!({"code": waits["code"]}));
    house.owner().revoke_agent("cc");
    material(&house, "cc").expect_error(404, "unknown_agent");
}

/// A peer that reaches the gateway may fetch these, and learns of no name from them.
#[test]
fn scripts_and_command_are_the_same_for_every_name() {
    let house = House::open();
    let client = house.gateway.client();
    connect(&house, "one-q7", Some("claude-code"));
    connect(&house, "two-q7", Some("generic"));
    connect(&house, "was-q7", Some("generic"));
    house.owner().revoke_agent("was-q7");
    let own = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let answer = |name: &str, path: &str| {
        let reply = client.get(&format!("/integration/{name}/{path}"));
        let text = String::from_utf8_lossy(&reply.body).replace(name, "NAME");
        // Each delivery is a version of its own.
        let same: Vec<&str> = text
            .lines()
            .filter(|l| !l.contains("\"version\""))
            .collect();
        (reply.status, same.join("\n"))
    };
    for (path, status) in [
        ("install.sh", 200),
        ("setup.sh", 200),
        ("engine/plan9-vax", 404),
    ] {
        let first = answer("one-q7", path);
        assert!(
            first.0 == status && !first.1.is_empty(),
            "{path}: {}",
            first.0
        );
        for name in ["two-q7", "was-q7", "nobody-q7"] {
            assert!(answer(name, path) == first, "{path} of {name} differs");
        }
    }
    let engine = |name: &str| client.get(&format!("/integration/{name}/engine/{own}"));
    let (known, unknown) = (engine("one-q7"), engine("nobody-q7"));
    assert!(known.status == 200 && known.body.len() > 100_000);
    assert!(known.body == unknown.body && known.status == unknown.status);
}

/// Memory that a process holds, in bytes.
#[cfg(target_os = "linux")]
fn held(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("what it holds");
    let kib = line.split_whitespace().next().expect("a number");
    kib.parse::<usize>().expect("a number") << 10
}

/// A peer that reaches the gateway may fetch the command, and be slow about it.
#[cfg(target_os = "linux")]
#[test]
fn those_who_fetch_the_command_at_once_share_one_copy() {
    let house = House::open();
    let client = house.gateway.client();
    let own = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let path = format!("/integration/one/engine/{own}");
    let size = client.get(&path).body.len();
    let before = held(house.gateway.pid());
    let asked = client.request("GET", &path).bytes_on_wire();
    let slow: Vec<_> = (0..24)
        .map(|_| {
            let mut stream = client.connect();
            stream.write_all(&asked).expect("it is asked");
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).expect("it begins");
            assert_eq!(&begin, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let more = held(house.gateway.pid()).saturating_sub(before);
    assert!(more < 8 * size, "{more} bytes more for 24 times {size}");
    drop(slow);
}

/// A machine that knows nothing of Plexus but a line that its owner typed.
struct Elsewhere {
    home: Folder,
    project: Folder,
    path: String,
}

impl Elsewhere {
    fn new(more: &[&Path]) -> Self {
        let folders = more.iter().map(|folder| folder.display().to_string());
        let system = ["/usr/local/bin", "/usr/bin", "/bin"].map(str::to_owned);
        let project = Folder::empty();
        project.write(".git/HEAD", "ref: refs/heads/main\n");
        Self {
            home: Folder::empty(),
            project,
            path: folders.chain(system).collect::<Vec<_>>().join(":"),
        }
    }
    fn sh(&self, line: &str) -> Said {
        let mut command = programs::command(Path::new("/bin/bash"), &self.home.path());
        command
            .env("PATH", &self.path)
            .current_dir(self.project.path())
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .args(["-o", "pipefail", "-c", line]);
        programs::run(command)
    }
}

/// One line, then the agent's own command, in the real Claude Code.
#[test]
fn one_line_sets_claude_code_up_on_another_machine() {
    let house = House::open();
    connect(&house, "my-cc", Some("claude-code"));
    let line = material(&house, "my-cc").expect_ok()["installCommand"].clone();
    let line = line.as_str().expect("a command");
    let machine = Elsewhere::new(&[claude().parent().expect("a folder")]);

    let refused = machine.sh(&line.replace("bash", "PLEXUS_CC_SCOPE=user bash"));
    refused.expect_status(64);
    assert_eq!(
        machine.home.tree(),
        Vec::<String>::new(),
        "refused before anything is written"
    );

    machine.sh(line).expect_ok();
    assert!(
        machine
            .home
            .read(".plexus/agents/my-cc.pat")
            .starts_with("plx_agent_")
    );
    assert!(
        !machine.home.has(".plexus/agents/my-cc.enroll"),
        "the scratch is gone"
    );
    assert_eq!(
        machine.home.read(".plexus/gateway"),
        format!("{}\n", house.gateway.base())
    );
    let all: String = machine
        .home
        .tree()
        .iter()
        .filter(|name| machine.home.path().join(name).is_file() && !name.ends_with("bin/plexus"))
        .map(|name| {
            String::from_utf8_lossy(&std::fs::read(machine.home.path().join(name)).expect("a file"))
                .into_owned()
        })
        .collect();
    assert!(!all.contains("plx_enroll_"), "the code lies nowhere");
    let mut validate = programs::command(&claude(), &machine.home.path());
    let plugin = machine.home.path().join(".plexus/plugins/plexus@my-cc");
    validate
        .args(["plugin", "validate", "--strict"])
        .arg(plugin);
    programs::run(validate).expect_ok();

    let model = Model::start([
        Step::bash("plexus-my-cc list"),
        Step::bash("plexus-my-cc workspace.read path=report.txt"),
        Step::bash("plexus-my-cc workspace.read --input '{\"path\":\"report.txt\"}' --json"),
        Step::say("done"),
    ]);
    let allowed = ["--allowedTools", "Bash(plexus-my-cc:*)"];
    let went = ask_claude(
        &model,
        &machine.home.path(),
        &machine.project.path(),
        &allowed,
        "Read my report.",
    );
    model.finish();
    let results = model.results();
    assert!(results[0].contains(READ), "{results:?}\n{}", went.stderr);
    assert_contains(&results[1], "first line");
    assert_contains(&results[2], "first line");
    assert_eq!(went.denied(), Vec::<String>::new());

    // A second time: the credential that works is kept.
    let again = machine.sh(&line.replace("plx_enroll_", "plx_enroll_x"));
    assert!(again.all().contains("it is kept"), "{again}");
}

/// The second shape: a script without a code, then the code once.
#[test]
fn one_line_and_a_code_set_any_agent_up_on_another_machine() {
    let house = House::open();
    connect(&house, "codex", Some("generic"));
    let material = material(&house, "codex").expect_ok();
    let line = material["setupCommand"].as_str().expect("a command");
    let code = material["enrollCode"].as_str().expect("a code");
    // This machine has a `plexus` of its own: it is used.
    let programs = binaries::folder();
    let machine = Elsewhere::new(&[&programs]);
    machine
        .project
        .write("AGENTS.md", "# Mine\n\nno line break at the end");
    machine.sh(line).expect_ok();
    machine.sh(line).expect_ok();
    let text = machine.project.read("AGENTS.md");
    assert!(
        text.starts_with("# Mine\n\nno line break at the end\n"),
        "{text}"
    );
    assert_eq!(text.matches("<!-- BEGIN PLEXUS -->").count(), 1, "{text}");
    let launcher = machine.home.path().join(".plexus/agents/codex/bin/plexus");
    assert_contains(&text, &format!("`{} list`", launcher.display()));
    let engine = std::fs::read_link(machine.home.path().join(".plexus/bin/plexus"));
    assert_eq!(engine.expect("a link"), programs.join("plexus"));
    let launcher = launcher.display();
    machine.sh(&format!("{launcher} enroll {code}")).expect_ok();
    let list = machine.sh(&format!("{launcher} list"));
    assert!(list.expect_ok().contains(READ), "{list}");
    // Replaced in place: what the person wrote below stays below.
    let below = format!("{text}\nmine, below\n");
    machine.project.write("AGENTS.md", &below);
    machine.sh(line).expect_ok();
    assert_eq!(machine.project.read("AGENTS.md"), below);
    // A block without an end: nobody knows where the person's own text goes on.
    let torn = "above\n<!-- BEGIN PLEXUS -->\nmine, below\n";
    machine.project.write("AGENTS.md", torn);
    let refused = machine.sh(line);
    refused.expect_status(1);
    assert!(refused.all().contains("fix it"), "{refused}");
    assert_eq!(machine.project.read("AGENTS.md"), torn);
}

/// A folder that somebody else made holds what somebody else wants there.
#[test]
fn the_script_writes_through_no_link_that_a_project_holds() {
    let house = House::open();
    connect(&house, "codex", Some("generic"));
    let material = material(&house, "codex").expect_ok();
    let line = material["setupCommand"].as_str().expect("a command");
    let machine = Elsewhere::new(&[&binaries::folder()]);
    machine.home.write(".bashrc", "mine\n");
    machine.project.write("AGENTS.md", "touch owned\n");
    std::os::unix::fs::symlink(
        machine.home.path().join(".bashrc"),
        machine.project.path().join("AGENTS.md.plexus.new"),
    )
    .expect("a link");
    machine.sh(line).expect_ok();
    assert_eq!(machine.home.read(".bashrc"), "mine\n");
    let text = machine.project.read("AGENTS.md");
    // The control.
    assert_contains(&text, "<!-- BEGIN PLEXUS -->");
}

/// A holder of a leaked key that hammers gets no code that outlives its rotation.
#[test]
fn code_delivered_during_rotation_is_dead_after_it() {
    let house = House::open();
    let client = house.gateway.client();
    for _ in 0..2 {
        let owner = house.owner();
        let agents: Vec<String> = (0..4).map(|n| format!("agent-{n}")).collect();
        for agent in &agents {
            connect(&house, agent, None);
        }
        let delivered = AtomicUsize::new(0);
        // Each code ends the agent's one before: its last is the one that could live.
        let steal = |agent: &str| {
            let mut last = Value::Null;
            loop {
                let reply = owner.get(&format!("/integration/{agent}"));
                if reply.status != 200 {
                    return last;
                }
                last = reply.at("/enrollCode");
                let before = delivered.fetch_add(1, Ordering::Relaxed);
                assert!(before < 100_000, "the key is never rotated");
            }
        };
        let codes: Vec<Value> = std::thread::scope(|scope| {
            let steal = &steal;
            let thieves: Vec<_> = agents
                .iter()
                .map(|agent| scope.spawn(move || steal(agent)))
                .collect();
            until_true("codes of the thief", || {
                delivered.load(Ordering::Relaxed) > 8
            });
            let rotate = owner.post("/v1/connection-key/rotate", json!({}));
            rotate.expect_ok();
            thieves
                .into_iter()
                .map(|thief| thief.join().expect("a code"))
                .collect()
        });
        for code in codes {
            assert!(code.is_string(), "the control: {code}");
            let redeemed = client.post("/agents/enroll", json!({ "code": code }));
            redeemed.expect_error(401, "unknown_code");
        }
    }
}
