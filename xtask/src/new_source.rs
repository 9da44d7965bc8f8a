//! `cargo xtask new-source NAME`: a connector that builds, passes and does something, to be changed into another one.
//!
//! Everything that a connector consists of comes from `xtask/templates/source`; nothing that is there is written over. A line
//! `__EFFECT__` of a template begins what only a connector with an effect has, `__READ__` what only the other has, and
//! `__BOTH__` what both have.

use crate::cargo;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Make a new connector: crate, manifest, profile, page, registration and tests
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Its name: lower-case letters, digits and '-'
    name: String,
    /// With an effect beside the read: `write`
    #[arg(long)]
    effect: bool,
}

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("../templates/source/", $name, ".tmpl"))
    };
}

/// Where each template goes. `NAME` stands for the connector's name.
const FILES: &[(&str, &str)] = &[
    ("workers/NAME/Cargo.toml", template!("Cargo.toml")),
    ("workers/NAME/manifest.json", template!("manifest.json")),
    ("workers/NAME/src/main.rs", template!("main.rs")),
    ("workers/NAME/src/lib.rs", template!("lib.rs")),
    ("workers/NAME/src/source.rs", template!("source.rs")),
    ("workers/NAME/tests/conforms.rs", template!("conforms.rs")),
    ("workers/NAME/tests/served.rs", template!("served.rs")),
    ("sandbox-profiles/NAME.sb", template!("profile.sb")),
    ("docs/sources/NAME.md", template!("page.md")),
];
/// Where connectors are registered, and the line that ends the list.
const REGISTRY: (&str, &str) = (
    "gateway/plexusd/src/shipped.rs",
    "pub const SHIPPED: &[Connector] = &[\n",
);
/// The workspace's members, and the products that a plain build makes.
const MEMBERS: (&str, [&str; 2]) = ("Cargo.toml", ["members = [\n", "default-members = [\n"]);

/// Makes it, and says what to do next.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = cargo::root();
    let (name, effect) = (&arguments.name, arguments.effect);
    for path in make(&root, name, effect)? {
        println!("{}", path.display());
    }
    crate::step::finish(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["fmt", "-p", &cargo::worker(name)])
            .current_dir(&root),
    )?;
    // Only the new member's lines; nothing is fetched.
    crate::step::finish(
        cargo::command()
            .args(["update", "--quiet", "--offline", "--workspace"])
            .current_dir(&root),
    )?;
    println!(
        "
It builds, passes and {does} a folder. Change it into yours with docs/write-a-source.md beside you:
  cargo test -p plexus-worker-{name}
  cargo xtask try {name} read '{{\"path\":\"README.md\"}}' --root .",
        does = if effect { "reads and writes" } else { "reads" }
    );
    if effect {
        println!(
            "  cargo xtask try {name} write '{{\"path\":\"README.md\",\"content\":\"new\"}}' --root docs --commit"
        );
    }
    Ok(())
}

/// Writes all files and the registration below `root`; gives their paths.
fn make(root: &Path, name: &str, effect: bool) -> Result<Vec<PathBuf>> {
    ensure!(
        is_name(name),
        "{name:?}: a name is 1 to 32 of a-z, 0-9 and '-', and begins with a letter"
    );
    ensure!(
        name != "conformance"
            && name != "rooted-files"
            && !root.join("workers").join(name).exists(),
        "workers/{name} is there already"
    );
    let mut made = Vec::new();
    for (path, template) in FILES {
        let path = PathBuf::from(path.replace("NAME", name));
        ensure!(
            !root.join(&path).exists(),
            "{} is there already",
            path.display()
        );
        made.push((path, filled(&of_kind(template, effect), name)));
    }
    for (path, text) in edits(root, name)? {
        made.push((path, text));
    }
    for (path, text) in &made {
        let whole = root.join(path);
        if let Some(folder) = whole.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::write(&whole, text).with_context(|| format!("writing {}", whole.display()))?;
    }
    Ok(made.into_iter().map(|(path, _)| path).collect())
}

/// The two files that have a line more.
fn edits(root: &Path, name: &str) -> Result<Vec<(PathBuf, String)>> {
    let read =
        |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("reading {path}"));
    let registry = read(REGISTRY.0)?;
    let line = format!("    connector!(\"{name}\"),\n");
    let registry = appended(&registry, REGISTRY.1, &line)
        .with_context(|| format!("{} has no list of connectors", REGISTRY.0))?;
    let mut members = read(MEMBERS.0)?;
    for list in MEMBERS.1 {
        let line = format!("    \"workers/{name}\",\n");
        members = appended(&members, list, &line)
            .with_context(|| format!("{} has no list {list:?}", MEMBERS.0))?;
    }
    Ok(vec![
        (REGISTRY.0.into(), registry),
        (MEMBERS.0.into(), members),
    ])
}

/// `text` with `line` at the end of the list that `opening` begins.
fn appended(text: &str, opening: &str, line: &str) -> Option<String> {
    // At the start of a line: one list's name may end like another's.
    let begin = text.find(&format!("\n{opening}"))? + 1 + opening.len();
    let end = begin + text[begin..].find("\n]")? + 1;
    Some(format!("{}{line}{}", &text[..end], &text[end..]))
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && !name.contains("--")
        && name.chars().all(plain)
}

/// The lines of a template that a connector with or without an effect has.
fn of_kind(template: &str, effect: bool) -> String {
    let (mut text, mut is_its) = (String::new(), true);
    for line in template.split_inclusive('\n') {
        match line.trim_end() {
            "__READ__" => is_its = !effect,
            "__EFFECT__" => is_its = effect,
            "__BOTH__" => is_its = true,
            _ if is_its => text.push_str(line),
            _ => {}
        }
    }
    text
}

fn filled(template: &str, name: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_uppercase())
    };
    let words: Vec<String> = name.split('-').map(capital).collect();
    template
        .replace("__NAME__", name)
        .replace("__IDENT__", &name.replace('-', "_"))
        .replace("__TYPE__", &words.concat())
        .replace("__LABEL__", &words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    #[test]
    fn names() {
        for good in ["git", "apple-mail", "x2"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "", "Git", "2x", "-a", "a-", "a--b", "a_b", "a/b", "..", "a b",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
        let text = filled("__NAME__ __IDENT__ __TYPE__Source __LABEL__", "apple-mail");
        assert_eq!(text, "apple-mail apple_mail AppleMailSource Apple Mail");
    }

    #[test]
    fn only_what_has_an_effect_speaks_of_one() {
        let of = |effect: bool| {
            let made = FILES.iter().map(|(path, template)| {
                let text = filled(&of_kind(template, effect), "apple-mail");
                assert!(!text.contains("__"), "{path} has a mark left: {text}");
                (*path, text)
            });
            made.collect::<BTreeMap<_, _>>()
        };
        let (reads, writes) = (of(false), of(true));
        for (path, text) in &reads {
            let is_same = path.ends_with("main.rs");
            assert_eq!(writes[path] == *text, is_same, "{path}");
            for word in ["effect", "writer", "Write", "\"write\""] {
                assert!(!text.contains(word), "{path} has {word}: {text}");
            }
        }
        let names = |made: &BTreeMap<&str, String>| -> Vec<String> {
            let text = &made["workers/NAME/manifest.json"];
            let manifest: Value = serde_json::from_str(text).unwrap();
            let entries = manifest["capabilities"].as_array().unwrap();
            let name = |entry: &Value| entry["name"].as_str().unwrap().to_owned();
            entries.iter().map(name).collect()
        };
        assert_eq!(names(&reads), ["read"]);
        assert_eq!(names(&writes), ["read", "write"]);
    }

    #[test]
    fn a_line_goes_to_the_end_of_its_own_list() {
        let text =
            "[workspace]\nmembers = [\n    \"a\",\n]\n# why\ndefault-members = [\n    \"b\",\n]\n";
        let text = appended(text, "members = [\n", "    \"c\",\n").unwrap();
        let whole = "    \"a\",\n    \"c\",\n]\n# why\n";
        assert!(text.contains(whole), "{text}");
        let text = appended(&text, "default-members = [\n", "    \"d\",\n").unwrap();
        assert!(text.ends_with("    \"b\",\n    \"d\",\n]\n"), "{text}");
        assert_eq!(appended(&text, "others = [\n", "x"), None);
    }

    #[test]
    fn what_is_there_is_not_written_over() {
        let root = cargo::root();
        let before = fs::read_to_string(root.join(REGISTRY.0)).unwrap();
        for (name, words) in [
            ("obsidian", "workers/obsidian is there already"),
            ("conformance", "workers/conformance is there already"),
            ("Bad", "a name is 1 to 32 of a-z"),
        ] {
            let why = make(&root, name, false).unwrap_err().to_string();
            assert!(why.contains(words), "{why}");
        }
        assert_eq!(fs::read_to_string(root.join(REGISTRY.0)).unwrap(), before);
    }
}
