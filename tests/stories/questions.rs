//! The questions that a stranger asks first: one step from README or the map leads to the section that answers each, and
//! its first words are the answer.

use crate::caldav::radicale::{PASSWORD, Radicale, USER};
use crate::documents::{anchor, plexusctl_commands, root};
use crate::house::{COUNT, House, READ, WRITE, Workshop};
use crate::office::{Running, tls_file};
use plexus_tests::programs::{self, Said};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::until_true;
use plexus_tests::{Folder, Gateway, Terminal, binaries};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A question, the page and the heading that answer it, and the first words there.
type Question = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const QUESTIONS: [Question; 24] = [
    ("what is it, and what not", "README.md", "Plexus", "Plexus lets Claude Code, Codex and other AI agents use"),
    ("let it read my vault", "docs/sources/obsidian.md",
     "Add a vault", "`plexusctl sources add obsidian-fs FOLDER` shares the vault"),
    ("run its tests", "README.md", "Run and test", "`cargo xtask test` runs every check and every test"),
    ("connect Claude Code, and undo it", "docs/connect-claude-code.md",
     "2. Connect, here, in one step", "`plexusctl connect my-cc --type claude-code --here` sets"),
    ("connect Codex by MCP", "docs/connect-codex.md",
     "2. Connect, here, in one step", "`plexusctl connect --type codex --here` gives Codex the tools of Plexus over MCP."),
    ("CalDAV with a certificate of my own", "docs/sources/caldav.md",
     "A certificate of your own", "`plexusctl sources add caldav-account --set ca=FILE` trusts"),
    ("writes under notes/ without asking", "docs/approvals.md",
     "Allow without asking", "`plexusctl grants allow AGENT workspace.write --window 1h --under path=notes` lets"),
    ("who read this note", "docs/audit.md", "Who did what", "`plexusctl activity --touched PATH` lists each call that read"),
    ("undo what was done an hour ago", "docs/audit.md", "Undo a change", "`plexusctl review AGENT --since 2h` shows"),
    ("stop everything", "docs/install-and-upgrade.md", "Stop", "`plexusctl service stop` ends the gateway"),
    ("no start after a power cut", "docs/runbook.md", "After a crash", "The next start repairs the state"),
    ("the disk is full", "docs/runbook.md", "A full or failing disk", "Free 17 MiB"),
    ("restore on a new machine", "docs/backup.md",
     "Restore on a new machine", "Install Plexus there, and run `plexusctl restore FILE`"),
    ("rotate keys", "docs/runbook.md", "Rotate keys", "`plexusctl key rotate` replaces your key"),
    ("write a client", "docs/protocol/README.md", "Try it", "Start from [`client.sh`]"),
    ("write a source", "docs/write-a-source.md", "1. Make one that works", "`cargo xtask new-source NAME` makes a connector"),
    ("lend an MCP server of npm", "docs/sources/mcp.md",
     "Install a server from npm or PyPI", "`plexusctl mcp install NAME npm:PACKAGE@VERSION` installs"),
    ("lend rg", "docs/create-an-extension.md",
     "Lend ripgrep", "`plexusctl extension add docs/extensions/ripgrep.json --folder files=FOLDER` lends"),
    ("half of what Codex changed", "docs/coding-agents.md",
     "5. Apply and undo", "`plexusctl changes apply cs_… --path FILE` applies the files that you name"),
    ("a relay for a team", "docs/channels/relay.md",
     "Run a relay", "`plexus-relay serve` runs a relay, and `plexus-relay invite` makes"),
    ("what does it protect from", "docs/threat-model.md",
     "In short", "Plexus keeps an agent from everything that you did not grant it"),
    ("how fast is it", "docs/performance.md", "Performance", "A single caller waits 0.5 ms for a read"),
    ("I found a hole", "SECURITY.md", "Report a weakness", "Use the private vulnerability report"),
    ("a fix of one line", "CONTRIBUTING.md", "A small fix", "Change the line, run `cargo xtask test --quick`"),
];

/// What stands below a heading, to the next one of its level or above.
fn section<'a>(page: &'a str, heading: &str) -> Option<&'a str> {
    let (mut is_code, mut begin, mut at) = (false, None, 0);
    for line in page.split_inclusive('\n') {
        is_code ^= line.starts_with("```");
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if level > 0 && !is_code {
            match begin {
                Some((_, of)) if level <= of || of == 1 => break,
                None if line[level..].trim() == heading => begin = Some((at + line.len(), level)),
                _ => {}
            }
        }
        at += line.len();
    }
    begin.map(|(begin, _)| page[begin..at].trim())
}

/// The links of a page, as paths from the workspace.
fn links(from: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(from)).expect("a page");
    let folder = from.strip_suffix("README.md").expect("a page that leads");
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let path = |link: &str| match link.strip_prefix("../") {
        Some(above) => above.to_owned(),
        None if link.starts_with('#') => format!("{from}{link}"),
        None => format!("{folder}{link}"),
    };
    targets.map(path).collect()
}

/// The words after each mention of a program between backticks or in a fenced block.
fn words_after<'a>(section: &'a str, program: &str) -> Vec<&'a str> {
    let mention = format!("{program} ");
    let mentions = section.split(&mention).skip(1);
    mentions
        .map(|rest| rest.split([' ', '`', '\n']).next().unwrap_or_default())
        .collect()
}

fn help_of(program: &str) -> String {
    let mut command = Command::new(binaries::path(program));
    let said = command.arg("--help").output().expect("the program runs");
    String::from_utf8(said.stdout).expect("text")
}

#[test]
fn each_question_is_answered_where_one_step_leads() {
    assert_eq!(
        section("# A\none\n## B\ntwo\n### C\n3\n## D\n", "B"),
        Some("two\n### C\n3")
    );
    assert_eq!(section("# A\none\n## B\n", "A"), Some("one"));
    let mut linked = links("README.md");
    linked.extend(links("docs/README.md"));
    let mut wrong = Vec::new();
    let mut commands = BTreeSet::new();
    for (question, page, heading, answer) in QUESTIONS {
        let text = fs::read_to_string(root().join(page)).expect("a page");
        let Some(section) = section(&text, heading) else {
            wrong.push(format!("{question}: {page} has no heading {heading:?}"));
            continue;
        };
        if !section.starts_with(answer) {
            wrong.push(format!(
                "{question}: {page}#{} begins otherwise",
                anchor(heading)
            ));
        }
        let is_first = text.starts_with(&format!("# {heading}\n"));
        let direct = format!("{page}#{}", anchor(heading));
        if !(linked.contains(&direct) || page == "README.md" || is_first && linked.contains(page)) {
            wrong.push(format!(
                "{question}: no link of README or docs/README.md is {direct}"
            ));
        }
        commands.extend(plexusctl_commands(section).0);
        for (program, source) in [
            ("plexus-relay", help_of("plexus-relay")),
            ("plexus", help_of("plexus")),
        ] {
            for word in words_after(section, &format!("`{program}")) {
                if !word.contains('.') && !source.contains(&format!("\n  {word} ")) {
                    wrong.push(format!("{question}: {program} has no {word}"));
                }
            }
        }
        let tasks = fs::read_to_string(root().join("xtask/src/main.rs")).expect("a source");
        for word in words_after(section, "cargo xtask") {
            let camel: String = word
                .split('-')
                .map(|part| part[..1].to_uppercase() + &part[1..])
                .collect();
            if !tasks.contains(&format!("Task::{camel}")) {
                wrong.push(format!("{question}: cargo xtask has no {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(commands.len() > 15, "{commands:?}");
}

fn asked(question: &str) -> &'static Question {
    let asked = QUESTIONS.iter().find(|(asked, ..)| *asked == question);
    asked.expect("a question")
}

/// The owner's command in the first words of an answer, as the page has it; its words in capitals are `here`.
fn printed(question: &str, here: &[(&str, &str)]) -> Vec<String> {
    let (.., answer) = asked(question);
    let (_, line) = answer.split_once("`plexusctl ").expect("a command");
    let words = line.split('`').next().unwrap_or_default().split(' ');
    let typed = |word: &str| {
        let is = here.iter().find(|(said, _)| *said == word);
        is.map_or(word, |(_, is)| is).to_owned()
    };
    words.map(typed).collect()
}

/// Typed as the pages have them, the commands in the first words of answers do what is asked for.
#[test]
fn commands_of_answers_do_what_is_asked() {
    let house = House::open();
    let types = |question: &str, here: &[(&str, &str)]| {
        let line = printed(question, here);
        let said = house.gateway.cli(line.iter().map(String::as_str));
        said.expect_ok().to_owned()
    };
    let more = Folder::empty();
    more.write("Second/.obsidian/app.json", "{}");
    let folder = more.path().join("Second").display().to_string();
    let added = types("let it read my vault", &[("FOLDER", &folder)]);
    assert_contains(&added, "second serves: ");
    // A folder that is shared already is said, and shared a second time under a name of its own alone.
    let there = house.vault.path().display().to_string();
    let mut again = printed("let it read my vault", &[("FOLDER", &there)]);
    let refused = house.gateway.cli(again.iter().map(String::as_str));
    let words = "obsidian serves that folder already";
    assert_contains(&refused.expect_status(64).stderr, words);
    again.extend(["--id".to_owned(), "twin".to_owned()]);
    let twin = house.gateway.cli(again.iter().map(String::as_str));
    assert_contains(twin.expect_ok(), "it shares a folder with obsidian: ");
    assert!(!added.contains("shares a folder"), "{added}");

    let agent = house.reader("one");
    let note = |path: &str| json!({"path": path, "content": "a line\n"});
    agent.must_ask(WRITE, note("notes/before.md"));
    let allowed = types("writes under notes/ without asking", &[("AGENT", "one")]);
    assert_contains(&allowed, "path at or below notes");
    agent.must(WRITE, note("notes/after.md"));
    let outside = agent.invoke(WRITE, note("elsewhere.md"));
    assert_eq!(outside.status, 401, "{outside}");
    assert!(house.workspace.has("notes/after.md") && !house.workspace.has("elsewhere.md"));

    let today = [("PATH", "notes/today.md")];
    let unread = types("who read this note", &today);
    assert!(!unread.contains("one read"), "{unread}");
    agent.must(READ, json!({"path": "notes/today.md"}));
    let read = types("who read this note", &today);
    assert_contains(&read, "one read notes/today.md");
    let review = types("undo what was done an hour ago", &[("AGENT", "one")]);
    assert_contains(&review, "notes/after.md");

    let backup = house.gateway.home().join("backup").display().to_string();
    house.gateway.cli(["backup", &backup]).expect_ok();
    let there = more.path().join("new").display().to_string();
    let restore = printed("restore on a new machine", &[("FILE", &backup)]);
    let restore = restore.iter().map(String::as_str);
    let restored = house
        .gateway
        .cli(["--home", &there].into_iter().chain(restore));
    restored.expect_ok();
    assert!(more.has("new/ledger.redb"));

    let key = house.gateway.key();
    types("rotate keys", &[]);
    assert_ne!(house.gateway.key(), key);
}

/// The first command of a page's section that begins so, without what is said beside it; what a person puts in is `here`.
#[track_caller]
fn command_of((page, heading): (&str, &str), begin: &str, here: &[(&str, &str)]) -> String {
    let text = fs::read_to_string(root().join(page)).expect("a page");
    let section = section(&text, heading).expect("its section");
    let Some(at) = section.find(begin) else {
        panic!("{page} has no {begin:?} under {heading:?}");
    };
    let line = section[at..].split(['\n', '`', '#']).next();
    let mut line = line.unwrap_or_default().trim().to_owned();
    for (said, is) in here {
        line = line.replace(said, is);
    }
    line
}

/// The same where a question is answered.
#[track_caller]
fn command_for(question: &str, begin: &str, here: &[(&str, &str)]) -> String {
    let (_, page, heading, _) = asked(question);
    command_of((page, heading), begin, here)
}

/// A line in a shell that knows where this build lies.
fn shell(home: &Path, line: &str) -> Command {
    let built = ["plexusctl", "plexus-relay"].map(binaries::path);
    let folder = built[0].parent().expect("a folder").display();
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = programs::command(Path::new("/bin/sh"), home);
    shell.env("PATH", format!("{folder}:{path}"));
    shell.args(["-c", line]);
    shell
}

/// Types a line as the gateway's owner.
#[track_caller]
fn types(gateway: &Gateway, line: &str) -> Said {
    match line.strip_prefix("plexusctl ") {
        Some(words) => gateway.cli(words.split_whitespace()),
        None => programs::run(shell(gateway.home(), line)),
    }
}

/// The command that makes a certificate makes it its own authority, which no verifier takes for a server's.
#[test]
fn certificate_of_ones_own_is_taken_as_it_is_made() {
    let question = "CalDAV with a certificate of my own";
    let folder = Folder::empty();
    let [certificate, key] = ["own.pem", "own.key"].map(|name| folder.path().join(name));
    let made = command_for(question, "openssl req -x509", &[]);
    let rest = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost";
    let made = format!("{made} {rest} -out own.pem -keyout own.key");
    programs::run(shell(&folder.path(), &made)).expect_ok();
    let shown = "openssl x509 -in own.pem -noout -text";
    let shown = programs::run(shell(&folder.path(), shown));
    assert_contains(shown.expect_ok(), "CA:TRUE");
    let server = Radicale::tls(&certificate, &key, &certificate);
    server.calendar("home", "Home", &["VTODO"]);
    server.put("home/bread.ics", "VTODO", "UID:bread\nSUMMARY:Bread");

    let gateway = Gateway::start();
    folder.write("password", PASSWORD);
    let password = format!("password={}", folder.path().join("password").display());
    let (url, user) = (format!("url={}", server.url()), format!("user={USER}"));
    // Another file does not speak for it, and adds nothing.
    let other = printed(
        question,
        &[("ca=FILE", &format!("ca={}", tls_file("ca.pem")))],
    );
    let rest = ["--set", &url, "--set", &user, "--secret", &password];
    let refused = gateway.cli(other.iter().map(String::as_str).chain(rest));
    let said = &refused.expect_status(1).stderr;
    assert_contains(said, "the server's certificate is not accepted");
    let listed = gateway.cli(["sources", "list"]);
    assert_lacks(listed.expect_ok(), "caldav");

    // A person is asked for the rest.
    let own = format!("ca={}", certificate.display());
    let typed = printed(question, &[("ca=FILE", &own)]);
    let typed = gateway.on_terminal(typed.iter().map(String::as_str));
    let mut terminal = Terminal::start(&typed, 160, 40);
    for (asks, answer) in [
        ("Server (such as", &*server.url()),
        ("User (such as", USER),
        ("App password", PASSWORD),
    ] {
        terminal.until_shows(asks);
        terminal.keys(&format!("{answer}\r"));
    }
    assert!(terminal.end().success(), "{}", terminal.picture());
    assert_contains(&terminal.picture(), "caldav serves: ");
    let list = "caldav.todos.list";
    let agent = gateway.agent_with("planner", &[list]);
    assert_contains(&agent.must(list, json!({})).to_string(), "Bread");
}

/// A gateway that somebody started is ended by its process, and a service by its manager. No test has a systemd: the program in
/// its stead writes down what it is asked, and ends the process as a stop of the unit does.
#[test]
#[cfg(target_os = "linux")]
fn gateway_is_stopped_as_the_page_says() {
    let stop_of = |begin: &str, here: &[(&str, &str)]| command_for("stop everything", begin, here);
    let mut house = House::open();
    house.reader("one").must(READ, crate::house::report());
    let workers = house.gateway.workers();
    assert!(!workers.is_empty(), "the control");
    let (stop, status) = (
        stop_of("plexusctl service stop", &[]),
        stop_of("plexusctl status", &[]),
    );
    let refused = types(&house.gateway, &stop);
    let why = "no service is installed; end the plexusd that you started yourself";
    assert_contains(&refused.expect_status(1).stderr, why);
    let running = types(&house.gateway, &status).stdout;
    let (_, process) = running.split_once(", process ").expect("its process");
    let pid = process.split(|c: char| !c.is_ascii_digit()).next();
    let pid = pid.expect("a number");
    assert_eq!(pid, house.gateway.pid().to_string());
    types(&house.gateway, &stop_of("kill PID", &[("PID", pid)])).expect_ok();
    assert!(house.gateway.ended().success(), "a clean stop");
    until_true("the end of its workers", || {
        workers.iter().all(|worker| !worker.alive())
    });
    types(&house.gateway, &status).expect_status(69);

    house.gateway.start_again();
    let install = ["service", "install", "--write-only", "--yes"];
    house.gateway.cli(install).expect_ok();
    let home = house.gateway.home();
    let manager = format!(
        "#!/bin/sh\necho \"$*\" >> \"$HOME/asked\"\ncase \"$2\" in stop) kill -TERM {};; esac\n",
        house.gateway.pid()
    );
    plexus_tests::folders::write_program(&home.join("systemctl"), manager);
    let words = stop.split(' ').skip(1);
    let mut typed = house.gateway.on_terminal(words);
    let path = std::env::var("PATH").unwrap_or_default();
    typed.env("PATH", format!("{}:{path}", home.display()));
    assert_contains(programs::run(typed).expect_ok(), "stopped");
    let asked = fs::read_to_string(home.join("asked")).expect("what it was asked");
    assert_contains(
        &asked,
        "--user stop plexusd.service plexus-notify.service\n",
    );
    assert!(house.gateway.ended().success(), "a clean stop");
    types(&house.gateway, &status).expect_status(69);
}

/// The next start repairs the state, and what nobody knows is settled by the commands of the page.
#[test]
fn runbook_leads_on_after_a_crash() {
    const PAGE: &str = "docs/runbook.md";
    let doctor = command_of((PAGE, "Diagnose with doctor"), "plexusctl doctor", &[]);
    let status = command_of((PAGE, "Status"), "plexusctl status", &[]);
    let unknown = (PAGE, "Unknown outcomes");
    let list = command_of(unknown, "plexusctl unknown", &[]);
    let (mut workshop, agent) = Workshop::with_writer("one");
    let lost = json!({"id": COUNT, "input": {"line": "lost", "wait": 600_000}});
    let intents = |workshop: &Workshop| workshop.calls(COUNT, "intent").len();
    std::thread::scope(|scope| {
        let request = agent.client().request("POST", "/invoke");
        let request = request.json(lost.clone());
        scope.spawn(move || request.try_send());
        until_true("it to be under way", || intents(&workshop) == 1);
        workshop.gateway.kill9();
    });
    types(&workshop.gateway, &list).expect_status(69);
    // The default port may be another gateway's.
    let gone = "which is gone";
    let down = types(&workshop.gateway, &format!("{doctor} --port 0"));
    assert_contains(&down.stdout, gone);

    workshop.gateway.start_again();
    let up = types(&workshop.gateway, &doctor);
    assert_contains(&up.stdout, "answers");
    assert_lacks(&up.stdout, gone);
    let said = types(&workshop.gateway, &status);
    let needs = &said.expect_status(1).stdout;
    assert_contains(needs, "NOT KNOWN whether it happened: fixture.count by one");
    let agent = workshop.back(&agent);
    let again = agent.invoke_body(lost.clone());
    assert_eq!(again.at("/error/code"), "outcome_unknown", "{again}");
    let said = types(&workshop.gateway, &list);
    let event = said.expect_ok().lines().next().expect("its id").to_owned();
    let here = [("evt_…", event.as_str())];
    let show = command_of(unknown, "plexusctl audit show", &here);
    assert_contains(types(&workshop.gateway, &show).expect_ok(), COUNT);
    let settle = command_of(unknown, "plexusctl unknown settle", &here);
    assert_contains(types(&workshop.gateway, &settle).expect_ok(), "it happened");
    let none = types(&workshop.gateway, &list);
    assert_contains(none.expect_ok(), "no call has an unknown outcome");
    assert_eq!(intents(&workshop), 1, "it was refused until then");
    std::thread::scope(|scope| {
        let request = agent.client().request("POST", "/invoke").json(lost);
        scope.spawn(move || request.try_send());
        until_true("it to be under way again", || intents(&workshop) == 2);
        workshop.gateway.kill9();
    });
}

/// The state that a restore has put aside is the room that is missing.
#[test]
#[cfg(target_os = "linux")]
fn room_on_a_full_disk_is_made_as_the_page_says() {
    let test = "questions::room_on_a_full_disk_is_made_as_the_page_says";
    // Two ballasts, two ledgers and their copy, and some room to fill.
    plexus_tests::small_disk::SmallDisk::with(test, 64 << 20, |disk| {
        let workspace = plexus_tests::workspace();
        let builder = Gateway::builder().workspace(&workspace.path());
        let mut gateway = builder.start_in(disk.home());
        let copy = gateway.home().join("copy").display().to_string();
        gateway.cli(["backup", &copy]).expect_ok();
        assert!(gateway.stop().success());
        gateway.cli(["restore", "--replace", &copy]).expect_ok();
        gateway.start_again();
        let agent = gateway.agent_with("one", &[READ]);
        let read = || agent.invoke(READ, crate::house::report());
        read().expect_ok();

        let state = gateway.state().display().to_string();
        let typed = |begin: &str| {
            let line = command_for("the disk is full", begin, &[("~/.plexus", &state)]);
            types(&gateway, &line)
        };
        let full = "audit log: NOT RECORDING (disk_full)";
        assert_lacks(&typed("plexusctl status").stdout, full);
        let _filler = disk.fill();
        until_true("the ledger to have no room", || {
            read().at("/error/code") == "audit_unavailable"
        });
        let said = typed("plexusctl status");
        assert_contains(&said.expect_status(1).stdout, full);
        assert_contains(typed("df -h ").expect_ok(), "100%");
        typed("rm -r ").expect_ok();
        until_true("agents to be served again", || read().status == 200);
        assert_lacks(&typed("plexusctl status").stdout, full);
        gateway.cli(["audit", "verify"]).expect_ok();

        // With not a byte left the daemon starts all the same, in the owner's space.
        assert!(gateway.stop().success());
        let filler = disk.fill();
        let ends: [fn(&mut Gateway); 2] = [Gateway::kill9, |gateway| {
            let _ = gateway.stop();
        }];
        for end in ends {
            gateway.start_again();
            let said = gateway.cli(["status"]);
            assert_contains(&said.expect_status(1).stdout, full);
            let disk = format!("MB free at {state}: df -h {state}");
            assert_contains(&said.stdout, &disk);
            let port = format!("\"port\":{}", gateway.port());
            assert_contains(&gateway.state_file("runtime.json"), &port);
            end(&mut gateway);
        }
        filler.remove().expect("room");
        gateway.start_again();
        let client = gateway.client();
        until_true("agents to be let in again", || {
            plexus_tests::agent::handshake(&client, &agent.pat).status == 200
        });
        let agent = plexus_tests::Agent::with_pat(&client, &agent.id, &agent.pat);
        let report = agent.invoke(READ, crate::house::report());
        report.expect_ok();
        assert_lacks(&gateway.cli(["status"]).stdout, full);
    });
}

/// A relay for other machines, and a member who joins by its certificate's authority.
#[test]
fn relay_with_a_certificate_serves_as_the_page_says() {
    let folder = Folder::empty();
    let at = folder.path();
    for (name, of) in [("relay.pem", "server.pem"), ("relay.key", "server.key")] {
        fs::copy(tls_file(of), at.join(name)).expect("a copy");
    }
    let store = at.display().to_string();
    // Any port that is free.
    let here = [("/var/lib/plexus-relay", &*store), (":7090", ":0")];
    let question = "a relay for a team";
    let serve = command_for(question, "plexus-relay serve --store", &here);
    let (plain, _) = serve
        .split_once(" --tls-certificate")
        .expect("a certificate");
    let refused = programs::run(shell(&at, plain));
    let why = "beyond this machine a relay needs a certificate";
    assert_contains(&refused.expect_status(1).stderr, why);
    let log = at.join("relay.log");
    let (_relay, ready) = Running::start(
        shell(&at, &format!("exec {serve}")),
        "PLEXUS_RELAY_READY ",
        &log,
    );
    let endpoint = ready["endpoint"].as_str().expect("an address");
    let port = endpoint.strip_prefix("https://0.0.0.0:");
    // The certificate is for this name.
    let relay = format!("https://localhost:{}", port.expect("a port"));
    let invite = command_for(question, "plexus-relay invite --store", &here);
    let invitation = programs::run(shell(&at, &invite));
    folder.write("invitation.txt", invitation.expect_ok().trim());

    let gateway = Gateway::start();
    let page = ("docs/channels.md", "Talk from the terminal");
    let invitation = at.join("invitation.txt").display().to_string();
    let here = [
        ("https://relay.example:7090", &*relay),
        ("invitation.txt", &*invitation),
    ];
    let join = command_of(page, "plexusctl channels join", &here);
    let refused = types(&gateway, &join);
    assert_contains(&refused.expect_status(1).stderr, "certificate");
    let authority = command_of(page, "--ca FILE", &[("FILE", &tls_file("ca.pem"))]);
    let joined = types(&gateway, &format!("{join} {authority}"));
    assert_contains(joined.expect_ok(), "you are Ana");
    let members = command_of(page, "plexusctl channels members", &[]);
    assert_contains(types(&gateway, &members).expect_ok(), "Ana");

    let listed = gateway.cli(["channels", "list", "--json"]).json();
    let id = listed["you"][0]["id"].as_str().expect("an id");
    let here = [("/var/lib/plexus-relay", &*store), ("01HZY…", id)];
    let remove = command_for(question, "plexus-relay remove --store", &here);
    let removed = programs::run(shell(&at, &remove));
    assert_contains(removed.expect_ok(), "removed \"Ana\" from \"Acme\"");
}
