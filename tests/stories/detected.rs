//! What a gateway finds on its machine, and the commands that add it.
#![cfg(not(target_os = "macos"))]

use plexus_tests::programs::{self, Said};
use plexus_tests::texts::assert_lacks;
use plexus_tests::{Folder, Gateway, binaries};
use serde_json::{Value, json};
use std::path::Path;

/// The file with the plugin's key and private key. A pipe: an open of it would wait for ever.
const PLUGIN: &str = ".obsidian/plugins/obsidian-local-rest-api";

fn detected(gateway: &Gateway) -> String {
    gateway.cli(["sources", "detect"]).expect_ok().to_owned()
}

/// The commands that are shown, as the owner pastes them.
fn commands(shown: &str) -> Vec<&str> {
    let lines = shown.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("plexusctl sources add "))
        .collect()
}

fn pasted(gateway: &Gateway, command: &str) -> Said {
    let mut shell = programs::command(Path::new("/bin/bash"), gateway.home());
    let owner = format!("{} --i-am-the-owner", binaries::path("plexusctl").display());
    shell
        .args(["-c", &command.replacen("plexusctl", &owner, 1)])
        .env("PLEXUS_HOME", gateway.state());
    programs::run(shell)
}

fn rows(gateway: &Gateway, kind: &str) -> Vec<Value> {
    let client = gateway.owner().client;
    let all = client.get("/admin/api/sources/detect").expect_ok();
    let all = all["detected"].as_array().expect("a list").clone();
    all.into_iter().filter(|row| row["kind"] == kind).collect()
}

#[test]
fn found_sources_are_added_by_the_commands_shown() {
    let gateway = Gateway::builder()
        .env("PLEXUS_FAKE_APPLE", "offered")
        .start();
    let vaults = Folder::empty();
    vaults.write("Work notes/a.md", "a");
    vaults.write("it's mine/b.md", "b");
    vaults.write(&format!("it's mine/{PLUGIN}/manifest.json"), "{}");
    let data = vaults
        .path()
        .join("it's mine")
        .join(PLUGIN)
        .join("data.json");
    nix::unistd::mkfifo(&data, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a pipe");
    // The control: nothing is listed yet.
    assert_eq!(rows(&gateway, "obsidian-fs"), [json!(null); 0]);
    let list = gateway.home().join(".config/obsidian");
    std::fs::create_dir_all(&list).expect("a folder");
    let listed = json!({"vaults": {
        "1": {"path": vaults.path().join("Work notes")},
        "2": {"path": vaults.path().join("it's mine")},
        "3": {"path": vaults.path().join("not there")},
        "4": {"path": "relative"},
        "5": "no entry",
    }});
    std::fs::write(list.join("obsidian.json"), listed.to_string()).expect("a file");
    // A source of the owner's has the id that the first vault would get.
    let notes = vaults.path().join("Work notes").display().to_string();
    let line = ["sources", "add", "workspace-dir", &notes];
    gateway.cli(line).expect_ok();

    let found = rows(&gateway, "obsidian-fs");
    let told = |row: &Value| [&row["suggested"]["id"], &row["reachable"]].map(Clone::clone);
    assert_eq!(
        found.iter().map(told).collect::<Vec<_>>(),
        [
            [json!("work-notes-2"), json!(true)],
            [json!("it-s-mine"), json!(true)],
            [json!("not-there"), json!(false)]
        ]
    );
    let rest = rows(&gateway, "obsidian-rest").remove(0);
    assert_eq!(rest["needsSecret"], json!({"name": "obsidian-rest.apiKey"}));
    let why = rest["evidence"].as_str().expect("a sentence");
    assert!(why.starts_with("the plugin Local REST API is in ") && why.contains("it's mine"));

    let key = vaults.path().join("key");
    std::fs::write(&key, "0123456789abcdef").expect("a file");
    let shown = detected(&gateway);
    let commands = commands(&shown);
    assert_eq!(commands.len(), 7, "{shown}");
    for command in commands {
        let added = match command {
            gone if gone.contains("not there") => {
                assert_ne!(pasted(&gateway, gone).status, 0, "{gone}");
                continue;
            }
            rest if rest.contains("obsidian-rest") => pasted(
                &gateway,
                &format!("{rest} --secret apiKey={}", key.display()),
            ),
            command => pasted(&gateway, command),
        };
        added.expect_ok();
    }
    let after = detected(&gateway);
    let left = self::commands(&after);
    assert_eq!(left.len(), 1, "{after}");
    assert_eq!(
        after.matches("configured: plexusctl sources").count(),
        6,
        "{after}"
    );
    let sources = gateway.cli(["sources"]).expect_ok().to_owned();
    for id in [
        "work-notes-2",
        "it-s-mine",
        "obsidian-rest",
        "things",
        "apple-calendar",
        "apple-reminders",
    ] {
        assert!(sources.contains(id), "{id} in {sources}");
    }
}

#[test]
fn apps_of_a_mac_are_not_found_elsewhere() {
    let gateway = Gateway::start();
    let shown = detected(&gateway);
    assert_lacks(&shown, "Apple");
    assert_lacks(&shown, "Things");
}
