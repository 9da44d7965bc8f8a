//! `plexusctl doctor`: what is broken on purpose is named, with what to type; what is well is not.

use crate::house::{House, WRITE, note};
use nix::sys::signal::Signal;
use plexus_tests::{Gateway, binaries, programs, texts::assert_contains, waiting::until};
use serde_json::{Value, json};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

/// What it found under a name.
fn found<'v>(said: &'v Value, name: &str) -> Vec<&'v Value> {
    let findings = said["findings"].as_array().expect("findings");
    findings.iter().filter(|f| f["name"] == name).collect()
}

/// With the gateway down, `doctor` looks at the default port, and another gateway of the person may hold it.
const DOWN: &[&str] = &["--port", "0"];

#[track_caller]
fn look(house: &House, line: &[&str]) -> Value {
    let said = house.gateway.cli([&["--json", "doctor"], line].concat());
    let seen = said.json();
    let failed = seen["worst"] == "fail";
    assert_eq!(said.status, i32::from(failed), "{said}");
    for finding in seen["findings"].as_array().expect("findings") {
        let well = finding["level"] == "ok";
        assert_eq!(
            finding["remedy"].is_null(),
            well,
            "each has its remedy: {finding}"
        );
        assert_ne!(finding["remedy"], "", "it can be typed: {finding}");
    }
    seen
}

/// A line of a table: a name, and how the finding under it must read.
#[track_caller]
fn names(said: &Value, name: &str, level: &str, words: &str) {
    let fits = |f: &&Value| f["level"] == level && f.to_string().contains(words);
    assert!(
        found(said, name).iter().any(fits),
        "{name}, {level}, {words}:\n{said:#}"
    );
}

#[test]
fn a_healthy_gateway_is_well_and_so_is_one_that_rests() {
    let mut house = House::open();
    let well = |house: &House, line: &[&str]| {
        let said = look(house, line);
        assert_ne!(said["worst"], "fail", "{said:#}");
        names(&said, "home", "ok", "no other user can read");
        names(&said, "clock", "ok", "not behind");
        names(&said, "kernel", "ok", "Landlock");
        names(&said, "ledger", "ok", "sound");
        names(&said, "cage of obsidian", "ok", "proved just now: reader");
        names(&said, "cage of workspace", "ok", "reader, writer");
        said
    };
    let said = well(&house, &[]);
    names(&said, "gateway", "ok", "answers");
    names(&said, "ports", "ok", "is the gateway's");
    // A key that cannot be used says nothing of the gateway.
    let file = house.gateway.state().join("connection-key");
    let key = fs::read(&file).expect("the key");
    let with = |key: &[u8], mode: u32| {
        fs::write(&file, key).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let another = format!("plx_live_{}", "0".repeat(48));
    for (text, mode, words, run) in [
        (key.as_slice(), 0o644, "others can use it", "chmod 600 /"),
        (
            "garbage".as_bytes(),
            0o600,
            "put the file back, or move it away",
            "ls -l /",
        ),
        (
            another.as_bytes(),
            0o600,
            "does not accept the connection key",
            "ls -l /",
        ),
        ("".as_bytes(), 0, "restart the gateway", "ls -l /"),
    ] {
        match mode {
            0 => fs::remove_file(&file).expect("removed"),
            mode => with(text, mode),
        }
        let said = look(&house, &[]);
        names(&said, "gateway", "warn", words);
        let remedy = found(&said, "gateway")[0]["remedy"].clone();
        assert!(
            remedy.as_str().is_some_and(|typed| typed.starts_with(run)),
            "{said:#}"
        );
        for (name, words) in [
            ("ledger", "could not ask it"),
            ("cages", "not known which sources"),
        ] {
            names(&said, name, "warn", words);
            assert_eq!(found(&said, name)[0]["remedy"], remedy, "{said:#}");
        }
        names(&said, "ports", "ok", "is the gateway's");
        assert!(found(&said, "leftovers").is_empty(), "{said:#}");
    }
    with(&key, 0o600);
    assert!(house.gateway.stop().success());
    let said = well(&house, DOWN);
    names(&said, "gateway", "warn", "plexusd");
    house.gateway.start_again();
    house.gateway.cli(["audit", "verify"]).expect_ok();
}

#[test]
fn each_thing_that_is_broken_is_named() {
    let mut house = House::open();
    assert!(house.gateway.stop().success());
    assert_ne!(look(&house, DOWN)["worst"], "fail", "the control");
    let state = house.gateway.state();

    let key = state.join("connection-key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("a mode");
    names(&look(&house, &[]), "modes", "fail", "chmod 600");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");

    let held = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = held.local_addr().expect("its address").port().to_string();
    let said = look(&house, &["--port", &port]);
    names(
        &said,
        "ports",
        "fail",
        &format!("process {}", std::process::id()),
    );
    drop(held);

    fs::write(state.join("runtime.json"), r#"{"port":1,"pid":4194303}"#).expect("written");
    names(&look(&house, &[]), "leftovers", "warn", "which is gone");
    fs::remove_file(state.join("runtime.json")).expect("removed");

    let programs = tempfile::tempdir().expect("a folder");
    let launcher = binaries::path("plexus-sandbox-exec");
    fs::copy(&launcher, programs.path().join("plexus-sandbox-exec")).expect("a copy");
    let only_launcher = programs.path().to_str().expect("text");
    let said = look(&house, &["--workers", only_launcher]);
    names(
        &said,
        "cage of workspace",
        "fail",
        "plexus-worker-workspace",
    );

    let ledger = state.join("ledger.redb");
    let sound = fs::read(&ledger).expect("the ledger");
    let mut broken = sound.clone();
    let at = broken
        .windows(7)
        .position(|seven| seven == b"\"launch")
        .expect("an event");
    broken[at + 1] = b'L';
    fs::write(&ledger, &broken).expect("written");
    let said = look(&house, &[]);
    assert_eq!(found(&said, "ledger")[0]["level"], "fail", "{said:#}");
    names(&said, "cages", "warn", "not known which sources");
    let remedy = |name: &str| found(&said, name)[0]["remedy"].clone();
    assert_eq!(remedy("cages"), remedy("ledger"), "{said:#}");
    // One that is gone is not made anew: its grants and denials would be gone too.
    fs::remove_file(&ledger).expect("removed");
    let said = look(&house, &[]);
    names(&said, "ledger", "fail", "plexusctl restore --replace FILE");
    let refused = Gateway::builder().refused(house.gateway.home());
    assert_eq!(refused.status, 78, "{refused}");
    for words in ["ledger.redb is missing", "plexusctl restore --replace FILE"] {
        assert!(refused.stderr.contains(words), "{words:?}: {refused}");
    }
    // And one that is cut short names what helps.
    fs::write(&ledger, &sound[..9_000]).expect("written");
    let said = look(&house, &[]);
    names(&said, "ledger", "fail", "plexusctl restore --replace FILE");
    let refused = Gateway::builder().refused(house.gateway.home());
    assert_eq!(refused.status, 78, "{refused}");
    for words in [
        "the ledger cannot be read",
        "plexusctl restore --replace FILE",
    ] {
        assert!(refused.stderr.contains(words), "{words:?}: {refused}");
    }
    fs::write(&ledger, &sound).expect("written");

    // Few descriptors, as a shell may have set them.
    let ctl = binaries::path("plexusctl");
    let mut shell = programs::command("/bin/sh".as_ref(), house.gateway.home());
    shell
        .env("PLEXUS_HOME", &state)
        .args(["-c", "ulimit -n 256; exec \"$0\" --json doctor"])
        .arg(&ctl);
    names(
        &programs::run(shell).json(),
        "limits",
        "warn",
        "256 open files",
    );
    assert_ne!(look(&house, DOWN)["worst"], "fail", "mended");
}

/// The cage is looked at in steps, and the first rule that breaks it is named by its line.
#[test]
fn the_rule_that_breaks_a_cage_is_named() {
    let house = House::open();
    let shipped = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../sandbox-profiles/workspace.sb"
    );
    let text = fs::read_to_string(shipped).expect("the profile");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tried.sb");
    let try_it = |text: &str| {
        fs::write(&file, text).expect("written");
        let profile = format!("workspace={}", file.display());
        look(&house, &["--profile", &profile])
    };
    names(&try_it(&text), "cage of workspace", "ok", "reader, writer");

    let lines = text.lines().count();
    let last = format!("sandbox-profiles/workspace.sb:{}", lines + 1);
    let said = try_it(&format!("{text}(alow file-read* (literal \"/\"))\n"));
    names(&said, "cage of workspace", "fail", "parameters");
    names(&said, "cage of workspace", "fail", &last);
    let said = try_it(&format!(
        "{text}(allow file-read* (subpath (param \"NOBODY\")))\n"
    ));
    names(&said, "cage of workspace", "fail", &last);

    let without: String = text
        .lines()
        .filter(|line| !line.starts_with("(allow process-exec*"))
        .map(|line| format!("{line}\n"))
        .collect();
    let said = try_it(&without);
    names(&said, "cage of workspace", "fail", "proof of the reader");

    // Too wide a cage starts, and does not prove itself.
    let said = try_it(&format!("{text}(allow file-read* (subpath \"/\"))\n"));
    names(
        &said,
        "cage of workspace",
        "fail",
        "proof of the reader: its cage is not sound",
    );
    // A cage that proves itself under rules that nobody can judge.
    let said = try_it(&format!(
        "{text}(allow file-read* (literal \"/usr/bin/true\"))\n"
    ));
    names(
        &said,
        "cage of workspace",
        "fail",
        "lint: it does not say why",
    );
    names(&said, "cage of workspace", "fail", &last);
    // The other source's cage is none of it.
    names(&said, "cage of obsidian", "ok", "proved");
}

fn newest_intent(house: &House) -> String {
    let intent = house
        .owner()
        .audited(|event| event["detail"]["phase"] == "intent");
    intent["id"].as_str().expect("an id").to_owned()
}

/// A writer was killed between its record of a change and the change. What it left tells the next one that nothing
/// happened, also after the owner has looked what is wrong.
#[test]
fn a_look_leaves_what_a_killed_write_settles_itself_by() {
    let mut house = House::open();
    let agent = house
        .gateway
        .agent_as(json!({"agentId": "one", "capabilities": [WRITE], "standing": [WRITE]}));
    agent.must(WRITE, note("a.md", "first"));
    let client = house.owner().client;
    let status = client.get("/admin/api/status").expect_ok();
    let workers = status["workers"].as_array().expect("workers");
    let writer = |w: &&Value| w["source"] == "workspace" && w["role"] == "writer";
    let writer = workers.iter().find(writer).expect("a writer")["pid"].as_u64();
    let mut workers = house.gateway.workers();
    workers.retain(|worker| Some(u64::from(worker.pid)) == writer);
    let first = newest_intent(&house);
    // The next effect comes as far as its intent; what the writer would have left is put there for it.
    workers[0].signal(Signal::SIGSTOP);
    let intent = std::thread::scope(|scope| {
        let request = agent.client();
        let request = request
            .request("POST", "/invoke")
            .json(json!({"id": WRITE, "input": note("b.md", "second")}));
        scope.spawn(move || request.try_send());
        let intent = until("the intent", || {
            let newest = newest_intent(&house);
            (newest != first).then_some(newest)
        });
        house.gateway.kill9();
        workers[0].signal(Signal::SIGKILL);
        intent
    });
    let kept = house.gateway.state().join("workers/workspace");
    let left = ".plexus-1-2-3.tmp";
    house.workspace.write(left, "second");
    let inode = fs::metadata(house.workspace.path().join(left))
        .expect("it")
        .ino();
    let done = fs::read_to_string(kept.join(format!("{first}.done"))).expect("the first change");
    let mut entry: Value =
        serde_json::from_str(done.lines().next().expect("a line")).expect("JSON");
    entry["call"] = json!(intent);
    entry["path"] = json!("b.md");
    entry["ready"]["temporary"] = json!(left);
    entry["ready"]["inode"] = json!(inode);
    fs::write(
        kept.join(format!("{intent}.begun")),
        format!("{entry}\nsecond"),
    )
    .expect("written");

    assert_ne!(look(&house, DOWN)["worst"], "fail");
    assert!(house.workspace.has(left), "a look changes nothing");
    house.gateway.start_again();
    let owner = house.owner();
    let outcome = owner.audited(|event| event["detail"]["intent"] == intent.as_str());
    assert_eq!(outcome["detail"]["result"], "refused", "{outcome}");
    assert!(!house.workspace.has("b.md"));
}

/// A report can be shown to strangers.
#[test]
fn a_report_names_nothing_private() {
    let (mut house, agent) = House::with_reader("agent-with-a-name");
    let folder = plexus_tests::Folder::empty();
    folder.write("Divorce 2026/a.md", "x\n");
    let path = folder.path().join("Divorce 2026").display().to_string();
    let add = [
        "sources",
        "add",
        "workspace-dir",
        &path,
        "--id",
        "divorce-2026",
    ];
    house.gateway.cli(add).expect_ok();
    let lent = ["lend", "agent-with-a-name", &path];
    house.gateway.cli(lent).expect_ok();
    let file = house.gateway.home().join("report.txt");
    let line = file.to_str().expect("text");
    let said = house.gateway.cli(["doctor", "--report", line]);
    assert!(said.stderr.contains("read it before you send it"), "{said}");
    let report = fs::read_to_string(&file).expect("the report");
    assert!(report.contains("ledger: sound"), "{report}");
    let private = [
        house.gateway.home().to_str().expect("text").to_owned(),
        house.vault.path().to_str().expect("text").to_owned(),
        house.gateway.key(),
        agent.pat,
        "agent-with-a-name".to_owned(),
    ];
    // The control.
    assert_contains(&report, "cage of workspace");
    // Once more with nobody to ask for the sources.
    assert!(house.gateway.stop().success());
    let resting = house.gateway.cli(["doctor", "--report"]).stdout;
    assert!(resting.contains("cage of workspace"), "{resting}");
    for private in private {
        for report in [&report, &resting] {
            assert!(!report.contains(&private), "{private} is in it:\n{report}");
        }
    }
    for report in [&report, &resting] {
        let named = report.to_lowercase();
        assert!(!named.contains("divorce"), "{report}");
        assert!(report.contains("cage of source-"), "{report}");
    }
    house.gateway.start_again();
    let said = house.gateway.cli(["doctor", "--ask"]);
    assert!(said.stderr.contains("workspace serves"), "{said}");
}

/// Commands that are printed act on the gateway that `--home` named once a line under them was typed too.
#[test]
fn printed_commands_come_with_the_home_of_the_flag() {
    let house = House::open();
    house.reader("a");
    let state = house.gateway.state().display().to_string();
    let types = |line: &[&str]| {
        let mut command = programs::command(&binaries::path("plexusctl"), house.gateway.home());
        command.arg("--i-am-the-owner").args(line);
        programs::run(command)
    };
    let said = types(&["--home", &state, "explain", "a", WRITE]);
    let variable =
        format!("for the commands above to act on this home: export PLEXUS_HOME={state}\n");
    assert_contains(&said.stderr, &variable);
    let (_, next) = said.stdout.split_once("plexusctl ").expect("a command");
    let next = next.lines().next().expect("a line");
    let mut shell = programs::command(Path::new("/bin/sh"), house.gateway.home());
    let (_, export) = variable.split_once(": ").expect("a command");
    let program = binaries::path("plexusctl");
    shell.arg("-c").arg(format!(
        "{export} {} --i-am-the-owner {next}",
        program.display()
    ));
    programs::run(shell).expect_ok();
    let grants = house.owner().grants();
    assert!(
        grants.iter().any(|grant| grant["capabilityId"] == WRITE),
        "{grants:?}"
    );
    // Nothing is added without a command, nor to data.
    for line in [
        &["--home", &state, "grants"][..],
        &["--home", &state, "--json", "doctor"],
    ] {
        let said = types(line);
        assert!(!said.all().contains("PLEXUS_HOME"), "{said}");
    }
    // An error names the home by itself.
    let wrong = types(&[
        "--home",
        &state,
        "undo",
        "evt_00000000-0000-4000-8000-000000000000",
    ]);
    assert_contains(&wrong.stderr, &format!("--home {state} audit tail"));
    assert!(!wrong.stderr.contains("PLEXUS_HOME"), "{wrong}");
}
