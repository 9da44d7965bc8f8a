//! The command line: what is refused before anything is opened, and what each refusal says to run.

#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../../tests/src/waiting.rs"]
mod waiting;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use waiting::within;

fn run(home: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plexus-peer"));
    command.env_clear().env("HOME", home).args(arguments);
    command.envs(variables.iter().copied());
    let typed = arguments.join(" ");
    let output = within(waiting::PATIENCE, &typed, move || command.output());
    let Output {
        status,
        stdout,
        stderr,
    } = output.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// A home with a login.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    fs::create_dir(home.path().join(".codex")).expect("made");
    fs::write(home.path().join(".codex/auth.json"), "{\"a\":1}").expect("written");
    home
}

#[test]
fn usage_is_refused_with_64_and_help_is_not() {
    let home = home();
    let (status, stdout, _) = run(home.path(), &["--help"], &[]);
    assert_eq!(status, 0);
    for flag in [
        "--agent-identity",
        "--invitation-key",
        "--first-name",
        "--last-name",
        "--skills",
        "--server-url",
    ] {
        assert!(stdout.contains(flag), "{stdout}");
    }
    for arguments in [
        &["--unknown"][..],
        &["--agent-identity", "a", "--invitation-key", "b"],
        &["--first-name"],
        &["more"],
    ] {
        assert_eq!(run(home.path(), arguments, &[]).0, 64, "{arguments:?}");
    }
    let both = [
        ("AGENT_CHATHAM_AGENT", "a"),
        ("AGENT_CHATHAM_REGISTER_KEY", "b"),
    ];
    let (status, _, stderr) = run(home.path(), &[], &both);
    assert_eq!(status, 64);
    assert!(stderr.contains("exclude each other"), "{stderr}");
}

#[test]
fn refusals_name_the_next_command() {
    let home = home();
    let refused = |arguments: &[&str], variables: &[(&str, &str)], words: &[&str]| {
        let (status, _, stderr) = run(home.path(), arguments, variables);
        assert_eq!(status, 1, "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word} is not in: {stderr}");
        }
        assert!(!stderr.contains("secret-invitation"), "{stderr}");
    };
    refused(
        &[],
        &[],
        &["no identity", "run: AGENT_CHATHAM_REGISTER_KEY=…"],
    );
    let key = [("AGENT_CHATHAM_REGISTER_KEY", "secret-invitation")];
    refused(&[], &key, &["no relay is named", "--server-url"]);
    refused(&["--server-url", "http://relay.example"], &key, &["https"]);
    refused(
        &["--server-url", "http://127.0.0.1:1"],
        &key,
        &["127.0.0.1:1"],
    );
    refused(
        &["--agent-identity", "../x"],
        &[],
        &["no name of an identity"],
    );
    refused(
        &["--agent-identity", "x"],
        &[],
        &["no identity \"x\"", "run: "],
    );
    let agents = home.path().join(".agent-chatham/agents");
    for name in ["ada-1", "bo-2"] {
        fs::create_dir(agents.join(name)).expect("made");
        fs::write(agents.join(name).join("identity.json"), "{").expect("written");
    }
    refused(&[], &[], &["ada-1, bo-2", "--agent-identity NAME"]);
    refused(&["--agent-identity", "ada-1"], &[], &["identity.json"]);
    let config = home.path().join(".agent-chatham/config.json");
    fs::write(&config, "[]").expect("written");
    refused(&[], &key, &["config.json", "api_endpoint"]);
    fs::write(&config, "{\"api_endpoint\":\"http://127.0.0.1:2\"}").expect("written");
    refused(&[], &key, &["127.0.0.1:2"]);
    fs::remove_file(home.path().join(".codex/auth.json")).expect("removed");
    refused(&[], &[], &["codex has no login", "run: codex login"]);
}
