//! Runs with a copy of the person's own sign-in: what of it enters the sandbox, how long it is there, who is told.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{Folder, Step};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What a sign-in is good for, and what renews it.
const ACCESS: &str = "story-access-5d1f";
const RENEWS: &str = "story-renews-93ac";

/// The sign-in of one program: where it lies in the person's home, and its text.
fn sign_in(kind: &Kind) -> (&'static str, String) {
    match kind.id {
        "codex" => {
            // No signature is looked at; it ends far in the future.
            let claims = json!({"exp": 4_000_000_000_u64, "email": "me@example.com", "jti": ACCESS,
                "https://api.openai.com/auth": {"chatgpt_account_id": "acc", "chatgpt_plan_type": "plus"}});
            let token = format!(
                "{}.{}.c2ln",
                base64url(r#"{"alg":"none"}"#),
                base64url(&claims.to_string())
            );
            let tokens = json!({"id_token": token, "access_token": token, "refresh_token": RENEWS, "account_id": "acc"});
            let whole = json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": tokens,
                "last_refresh": "2999-01-01T00:00:00Z"});
            (".codex/auth.json", whole.to_string())
        }
        _ => {
            let oauth = json!({"accessToken": ACCESS, "refreshToken": RENEWS, "expiresAt": 4_000_000_000_000_u64,
                "scopes": ["user:inference"], "subscriptionType": "max"});
            (
                ".claude/.credentials.json",
                json!({"claudeAiOauth": oauth}).to_string(),
            )
        }
    }
}

fn base64url(text: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// The token that the program sends with this sign-in.
fn token(kind: &Kind, text: &str) -> String {
    let whole: Value = serde_json::from_str(text).expect("JSON");
    let token = match kind.id {
        "codex" => &whole["tokens"]["access_token"],
        _ => &whole["claudeAiOauth"]["accessToken"],
    };
    token.as_str().expect("a token").to_owned()
}

/// The files of this name below a folder.
fn named(folder: &Path, name: &std::ffi::OsStr) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(named(&path, name));
        } else if path.file_name() == Some(name) {
            found.push(path);
        }
    }
    found
}

fn run_has_a_copy_of_the_sign_in_while_it_lasts(kind: Kind) {
    let (at, text) = sign_in(&kind);
    let (exec, token) = (kind.exec, token(&kind, &text));
    let name = Path::new(at).file_name().expect("a name").to_owned();
    let look = format!(
        "find \"$HOME/\" -name {0} -exec cat {{}} +; echo looked",
        name.display()
    );
    let desk = Desk::open(kind, [exec(&look), Step::say("No sign-in.")]);
    let home = desk.gateway.state().parent().expect("a home").to_owned();
    let file = home.join(at);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    std::fs::write(&file, &text).expect("a file");

    // The control: without the owner's word a run has none.
    desk.run(&json!({"prompt": "Look."}));
    let seen = desk.model.results().join("\n");
    assert!(seen.contains("looked") && !seen.contains(&token), "{seen}");
    let sent = desk.model.credentials();
    assert!(sent.iter().all(|sent| !sent.contains(&token)), "{sent:?}");

    let (id, server) = (desk.kind.id, desk.model.base());
    let server = match id {
        "codex" => format!("server={server}/backend-api/codex"),
        _ => format!("server={server}"),
    };
    let set = ["sources", "set", id, "login=copy", &server, "--yes"];
    desk.gateway.cli(set).expect_ok();
    let outside = format!("cat {} || echo closed", file.display());
    desk.model
        .then([exec(&look), exec(&outside), Step::say("Seen.")]);
    let input = json!({"prompt": "Look again."});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains("copy of your own sign-in"), "{plan}");
    assert!(plan.contains("its commands can read it"), "{plan}");
    desk.owner().approve(&item, "once");
    let before = desk.model.credentials().len();
    desk.agent.must(&desk.kind.of("run"), input.clone());
    let seen = desk.model.results();
    // Its commands can read it.
    assert_contains(&seen[0], &token);
    assert!(!seen[0].contains(RENEWS), "and cannot renew it: {seen:?}");
    assert!(seen[1].contains("closed"), "the file itself: {seen:?}");
    let sent = desk.model.credentials().split_off(before);
    assert_eq!(sent, vec![format!("Bearer {token}"); 3]);
    desk.model.finish();
    let state = desk.gateway.state();
    assert_eq!(named(&state, &name), Vec::<PathBuf>::new());
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), text);

    // It is expired, or not there: the words say what to do.
    desk.model.instead(vec![Step::Refuse(401); 20]);
    let refused = desk.approved("run", &input).json();
    assert_eq!(
        refused["error"]["detail"]["reason"], "key_refused",
        "{refused}"
    );
    let words = refused["error"]["message"].to_string();
    assert!(words.contains("sign in again"), "{refused}");
    assert_eq!(named(&state, &name), Vec::<PathBuf>::new());
    std::fs::remove_file(&file).expect("removed");
    let refused = desk.approved("run", &input).json();
    let words = refused["error"]["message"].to_string();
    assert_contains(&words, "sign in with the program itself first");
}

#[test]
fn codex_run_has_a_copy_of_the_sign_in_while_it_lasts() {
    run_has_a_copy_of_the_sign_in_while_it_lasts(CODEX);
}

#[test]
fn claude_run_has_a_copy_of_the_sign_in_while_it_lasts() {
    run_has_a_copy_of_the_sign_in_while_it_lasts(CLAUDE);
}

/// A machine that lost its power in the midst of a run, while the run had a link to the person's own folder in another.
#[test]
fn copy_that_a_crash_left_goes_at_the_next_start() {
    let mut desk = Desk::open(CODEX, [Step::say("Done.")]);
    desk.run(&json!({"prompt": "Work."}));
    desk.gateway.kill9();
    let runs = desk.gateway.state().join("workers/codex/runs/writer");
    let run = std::fs::read_dir(&runs).expect("runs").flatten();
    let run = run
        .map(|run| run.path())
        .find(|run| run.join("scratch/agent").is_dir());
    let agent = run.expect("the run").join("scratch/agent");
    let owners = desk.gateway.home().join(".codex");
    let linked = runs.join("evt-linked/scratch");
    for folder in [&owners, &linked] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::os::unix::fs::symlink(&owners, linked.join("agent")).expect("a link");
    let [left, beside, own] = [
        agent.join("auth.json"),
        agent.join("beside.json"),
        owners.join("auth.json"),
    ];
    for file in [&left, &beside, &own] {
        std::fs::write(file, ACCESS).expect("a file");
    }
    desk.gateway.start_again();
    // The controls: what lies beside it, and what a link leads to.
    assert!(beside.exists() && own.exists());
    assert!(!left.exists(), "the copy is still there");
}

#[test]
fn sign_in_replaces_the_key_and_is_spelled_right() {
    let desk = Desk::open(CODEX, []);
    let wrong = desk
        .gateway
        .cli(["sources", "set", "codex", "login=yes", "--yes"]);
    let words = format!("{wrong:?}");
    assert!(words.contains("nor an absolute path"), "{words}");
    let folder = Folder::empty();
    let path = folder.path().display().to_string();
    let binary = format!("binary={}", plexus_tests::coding_agents::codex().display());
    let add = |more: &[&str]| {
        let words = [
            "sources",
            "add",
            "codex-folder",
            &path,
            "--id",
            "second",
            "--set",
            &binary,
        ];
        desk.gateway.cli(words.iter().chain(more).copied())
    };
    let without = format!("{:?}", add(&[]));
    // The control.
    assert_contains(&without, "it needs a secret");
    desk.gateway.must_cli(["sources", "remove", "second"]);
    let added = add(&["--set", "login=copy"]);
    let said = added.expect_ok();
    assert_contains(said, "second serves");
    assert_lacks(said, "needs a secret");
}
