//! The real coding agents in the cage of their runs: what their tools do every day works there, and what lies outside is
//! out of reach.

use plexus_tests::coding_agents::{Conversation, ask_caged_claude, ask_caged_codex};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{Folder, Model, Step};
use serde_json::json;
use std::path::Path;

/// What developers' tools ask of a system, each line ending in a word that only its success says. The first lines are for
/// the ones after them.
const COMMANDS: [&str; 19] = [
    "git init -q . && git config user.email a@b.c && git config user.name A && echo one > a.txt && git add . && git commit -qm first && echo SAID-init",
    "git clone -q . clone && git -C clone log --oneline | grep first && echo SAID-clone",
    "sed -i s/one/two/ a.txt && grep two a.txt && echo SAID-sed",
    "mkdir -p tree/sub && echo x > tree/sub/f && chmod 640 tree/sub/f && cp -a tree copy && stat -c %a copy/sub/f | grep 640 && echo SAID-copy",
    "cp -p a.txt kept.txt && echo SAID-keep",
    "tar cf t.tar tree && mkdir out && tar xf t.tar -C out && cat out/tree/sub/f && echo SAID-tar",
    "gzip -k t.tar && gunzip -c t.tar.gz | tar tf - | grep sub/f && echo SAID-gzip",
    "install -m 750 a.txt installed && stat -c %a installed | grep 750 && echo SAID-install",
    "printf '#!/bin/sh\\necho ran\\n' > s && chmod +x s && ./s | grep ran && git add s && git commit -qm script && git ls-files -s s | grep 100755 && echo SAID-script",
    "touch -d 2001-01-01 a.txt && stat -c %Y a.txt | grep 978307200 && echo SAID-touch",
    "ln -s a.txt link && mv link link2 && cat link2 && rm link2 && echo SAID-link",
    "find . -name f | xargs wc -l && awk 1 a.txt | sort | uniq | head -1 | tee teed && diff teed a.txt && echo SAID-text",
    "cat <(echo fine) && echo SAID-substitution",
    "timeout 1 sleep 5; test $? = 124 && echo SAID-timeout",
    "python3 -c 'import shutil,os,subprocess; shutil.copytree(\"tree\",\"t2\"); shutil.copy2(\"a.txt\",\"b.txt\"); subprocess.run([\"true\"],start_new_session=True,check=True)' && echo SAID-python",
    "python3 -m venv --without-pip v && v/bin/python -c 'print(1)' && echo SAID-venv",
    "flock lock sh -c 'flock -w 0.2 lock true || echo held' | grep held && flock -n lock true && echo SAID-lock",
    "python3 -c 'import sqlite3; a, b = sqlite3.connect(\"d\"), sqlite3.connect(\"d\"); a.execute(\"pragma journal_mode=wal\"); a.execute(\"create table t (x)\"); b.execute(\"insert into t values (7)\"); b.commit(); print(a.execute(\"select x from t\").fetchall())' | grep 7 && echo SAID-database",
    "setsid sh -c 'echo away > away.txt' && sleep 0.1 && cat away.txt && echo SAID-setsid",
];
/// What a tool says where its system refuses something.
const COMPLAINTS: [&str; 4] = ["denied", "not permitted", "not supported", "preserving"];

/// The file outside and the words in it.
const SECRET: &str = "nobody reads this";

struct Place {
    root: Folder,
    scratch: Folder,
    outside: Folder,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            root: Folder::empty(),
            scratch: Folder::empty(),
            outside: Folder::empty(),
        };
        place.outside.write("secret.txt", SECRET);
        place
    }

    /// Attempts that must fail, with a port that somebody listens on, and the control of each.
    fn attempts(&self, port: u16) -> Vec<String> {
        let outside = self.outside.path();
        let outside = outside.display();
        vec![
            format!("cat {outside}/secret.txt || echo KEPT"),
            format!("chmod 777 {outside}/secret.txt || echo KEPT"),
            format!("ln -s {outside}/secret.txt l && chmod 700 l || echo KEPT"),
            format!("(echo > /dev/tcp/127.0.0.1/{port}) || echo KEPT"),
            "cat /proc/self/environ || echo KEPT".to_owned(),
        ]
    }

    #[track_caller]
    fn holds(&self, results: &[String]) {
        let (worked, kept) = results.split_at(COMMANDS.len());
        for (command, result) in COMMANDS.iter().zip(worked) {
            let word = command.rsplit(' ').next().expect("a word");
            assert!(
                result.contains(word) && !COMPLAINTS.iter().any(|words| result.contains(words)),
                "{command}: {result}"
            );
        }
        for result in kept {
            assert_contains(result, "KEPT");
            assert_lacks(result, SECRET);
        }
        use std::os::unix::fs::PermissionsExt;
        let secret = std::fs::metadata(self.outside.path().join("secret.txt"));
        let mode = secret.expect("it is there").permissions().mode() & 0o777;
        assert_ne!(mode, 0o777);
        assert_ne!(mode, 0o700);
    }
}

/// The attempts work without a cage, or their failure proves nothing.
#[track_caller]
fn controls(attempts: &[String]) {
    for attempt in attempts {
        let outside = Folder::empty();
        let said = std::process::Command::new("bash")
            .args(["-c", attempt])
            .current_dir(outside.path())
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(!said.contains("KEPT"), "{attempt}: {said}");
    }
}

/// Runs the commands, the attempts and the steps of its own; gives the results of those, with what they made.
#[track_caller]
fn run(
    place: &Place,
    line: fn(&str) -> Step,
    own: impl IntoIterator<Item = Step>,
    ask: fn(&Model, &Path, &Path, &str) -> Conversation,
) -> (Vec<String>, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let attempts = place.attempts(port);
    let mut steps: Vec<Step> = COMMANDS.map(line).into();
    steps.extend(attempts.iter().map(|attempt| line(attempt)));
    steps.extend(own);
    steps.push(Step::say("done"));
    let model = Model::start(steps);
    let went = ask(&model, &place.root.path(), &place.scratch.path(), "Work.");
    went.expect_ok();
    model.finish();
    let results = model.results();
    let (commands, own) = results.split_at(COMMANDS.len() + attempts.len());
    place.holds(commands);
    controls(&attempts);
    (own.to_vec(), place.root.read("made.txt"))
}

#[test]
fn caged_claude_runs_its_tools() {
    let place = Place::new();
    let file = place.root.path().join("made.txt").display().to_string();
    let call = |tool: &str, input| Step::Call(tool.into(), input);
    let steps = [
        call("Write", json!({"file_path": file, "content": "first"})),
        call("Read", json!({"file_path": file})),
        call(
            "Edit",
            json!({"file_path": file, "old_string": "first", "new_string": "second"}),
        ),
    ];
    let (own, made) = run(&place, Step::bash, steps, ask_caged_claude);
    assert_eq!(own.len(), 3, "{own:?}");
    assert_eq!(made, "second", "{own:?}");
}

#[test]
fn caged_codex_runs_its_tools() {
    let patch =
        "apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: made.txt\n+second\n*** End Patch\nEOF";
    let place = Place::new();
    let (own, made) = run(&place, Step::exec, [Step::exec(patch)], ask_caged_codex);
    assert_eq!(made, "second\n", "{own:?}");
}
