//! The pages under `docs/reference` say what the programs do.

use crate::documents::{page, quoted};
use std::collections::BTreeMap;

fn help_of(program: &str) -> String {
    let help = std::process::Command::new(plexus_tests::binaries::path(program))
        .arg("--help")
        .env_clear()
        .output()
        .expect("the program runs");
    String::from_utf8(help.stdout).expect("text")
}

/// The commands of a help text with their one line each.
fn commands(help: &str) -> Vec<(String, String)> {
    let (_, after) = help.split_once("Commands:\n").expect("commands");
    let mut rows: Vec<(String, String)> = Vec::new();
    for line in after.lines().take_while(|line| !line.trim().is_empty()) {
        let text = line.trim();
        if line.starts_with("   ") {
            let (_, about) = rows.last_mut().expect("a command");
            about.push_str(&format!(" {text}"));
        } else if let Some((name, about)) = text.split_once("  ") {
            rows.push((name.to_owned(), about.trim().to_owned()));
        }
    }
    rows
}

/// The commands stand on their page as the programs print them; the page explains each flag of the daemon.
#[test]
fn flags_and_commands_are_those_of_the_programs() {
    let mut section = String::new();
    for program in ["plexusctl", "plexus", "plexusd"] {
        section.push_str(&format!("\n| `{program}` | |\n|---|---|\n"));
        for (name, about) in commands(&help_of(program)) {
            if name != "help" {
                section.push_str(&format!("| `{name}` | {} |\n", about.replace('|', "\\|")));
            }
        }
    }
    assert!(section.lines().count() > 45, "{section}");
    // Options of every command stand apart from a command's own.
    for program in ["plexusctl", "plexus"] {
        let help = help_of(program);
        let (own, all) = help
            .split_once("Options of every command:\n")
            .expect("a group of their own");
        assert!(all.contains("--home") && !own.contains("--home"), "{help}");
    }
    assert!(!section.contains("clap"), "of how it is built: {section}");
    plexus_tests::golden::check_section("docs/reference/flags.md", "commands", &section);
    let help = help_of("plexusd");
    let mut printed: BTreeMap<String, String> = BTreeMap::new();
    let mut flag = String::new();
    for line in help.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("--") {
            flag = name.split(' ').next().unwrap_or_default().to_owned();
            printed.insert(flag.clone(), String::new());
        } else if let Some(name) = line.strip_prefix("[env: ") {
            let name = name.split(['=', ']']).next().unwrap_or_default();
            printed.insert(flag.clone(), name.to_owned());
        }
    }
    let page = page("reference/flags.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `--"));
    let listed: BTreeMap<String, String> = rows
        .filter_map(|row| {
            let flag = row.split([' ', '`']).next()?;
            let row = row.replace("\\|", " ");
            let environment = row.split('|').nth(1)?.trim().trim_matches('`');
            Some((flag.to_owned(), environment.to_owned()))
        })
        .filter(|(flag, _)| {
            printed.contains_key(flag) || !["full", "out", "output"].contains(&flag.as_str())
        })
        .collect();
    assert!(printed.len() > 8, "{help}");
    assert_eq!(listed, printed);
}

/// The daemon's own files and folders are on the page about them.
#[test]
fn state_directory_page_names_every_entry() {
    let page = page("reference/state-directory.md");
    let entries = quoted(&page);
    for name in plexus_protocol::state_dir::FOLDERS
        .iter()
        .chain(plexus_protocol::state_dir::FILES)
    {
        let named = |entry: &&str| *entry == *name || entry.starts_with(&format!("{name}/"));
        assert!(entries.iter().any(named), "the page does not name {name}");
    }
}
