//! Functions that only macOS compiles are short: nobody has run them, so a reader must be able to hold one. Each has one of its
//! name that Linux compiles in the same package, or the page on macOS says why there is none.
//!
//! Read from the formatted text: a function ends at the brace below its first letter.

use super::rust_files;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Lines of a function at most, from its name to its brace.
const MOST: usize = 40;
/// What has sources.
const PLACES: [&str; 8] = [
    "channels",
    "gateway",
    "integrations",
    "ipc",
    "sandbox-profiles",
    "tests",
    "workers",
    "xtask",
];
/// Says why a function has no twin.
const REASONS: &str = "docs/decisions/0138-keeper-on-macos.md";
/// Before a module or a file that macOS alone has.
const MACOS: &str = "cfg(target_os = \"macos\")]";

/// One line for each function that is too long, and for each that has neither twin nor reason.
pub(crate) fn breaches(root: &Path) -> Result<Vec<String>> {
    let files = rust_files(root, &PLACES)?;
    let alone = of_macos(&files);
    let (mut of_macos, mut of_linux) = (Vec::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for (path, text) in &files {
        let is_alone = alone.iter().any(|begin| Path::new(path).starts_with(begin));
        for function in functions(text) {
            match is_alone || function.is_marked {
                true => of_macos.push((path, function)),
                false => {
                    let of_package = of_linux.entry(package(path)).or_default();
                    of_package.insert(function.name);
                }
            }
        }
    }
    let reasons = std::fs::read_to_string(root.join(REASONS)).context(REASONS)?;
    let reasoned: BTreeSet<&str> = reasons.split('`').skip(1).step_by(2).collect();
    let mut breaches = Vec::new();
    for (path, Length { name, lines, .. }) in of_macos {
        if lines > MOST {
            breaches.push(format!(
                "{path}: `{name}` has {lines} lines, and macOS alone compiles it: {MOST} at most"
            ));
        }
        let has_twin = of_linux
            .get(package(path))
            .is_some_and(|all| all.contains(name));
        if !has_twin && !reasoned.contains(name) && !reasoned.contains(path.as_str()) {
            breaches.push(format!(
                "{path}: `{name}` has no twin of its name on Linux, and {REASONS} does not say why"
            ));
        }
    }
    Ok(breaches)
}

/// The package that a file is of.
fn package(path: &str) -> &str {
    let end = ["/src/", "/tests/"]
        .iter()
        .find_map(|folder| path.find(folder));
    end.map_or(path, |end| &path[..end])
}

/// The files that are compiled for macOS alone, and the folders of their modules.
fn of_macos(files: &[(String, String)]) -> BTreeSet<PathBuf> {
    let mut alone = BTreeSet::new();
    for (path, text) in files {
        let path = Path::new(path);
        let is_root = ["lib.rs", "main.rs", "mod.rs"]
            .iter()
            .any(|root| path.ends_with(root));
        let folder = match is_root {
            true => path.parent().unwrap_or(path).to_path_buf(),
            false => path.with_extension(""),
        };
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line == format!("#![{MACOS}") {
                alone.insert(path.to_path_buf());
            }
            if line == format!("#[{MACOS}")
                && let Some(name) = lines.next().and_then(module)
            {
                alone.insert(folder.join(format!("{name}.rs")));
                alone.insert(folder.join(name));
            }
        }
    }
    alone
}

/// The name in `pub(crate) mod NAME;`.
fn module(line: &str) -> Option<&str> {
    let (before, name) = line.strip_suffix(';')?.split_once("mod ")?;
    (before.is_empty() || before.starts_with("pub")).then_some(name)
}

/// How long a function is.
#[derive(Debug, PartialEq, Eq)]
struct Length<'t> {
    name: &'t str,
    lines: usize,
    /// Whether one of its attributes says that macOS alone has it.
    is_marked: bool,
}

/// Each function of a text.
fn functions(text: &str) -> impl Iterator<Item = Length<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = lines.clone().into_iter().enumerate();
    starts.filter_map(move |(at, line)| {
        let name = function(line)?;
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        let rest = &lines[at..];
        let mut above = lines[..at].iter().rev().map(|line| line.trim());
        let mut above = above.by_ref().take_while(|line| line.starts_with("#["));
        let is_marked = above.any(|line| line == format!("#[{MACOS}"));
        let of = |lines| Length {
            name,
            lines,
            is_marked,
        };
        // A signature without a body, or a body on its line.
        if line.ends_with(';') || line.ends_with('}') {
            return Some(of(1));
        }
        let length = rest.iter().position(|line| *line == end)?;
        Some(of(length + 1))
    })
}

/// The name of the function that begins on this line.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let is_word = |word: &str| {
        word.starts_with("pub")
            || ["const", "async", "unsafe", "extern", "\"C\"", "in"].contains(&word)
    };
    let of_keywords = before.split_whitespace().all(is_word);
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    (of_keywords && end > 0).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: usize) -> String {
        let body = "    act();\n".repeat(names);
        format!("/// fn no() {{\npub(crate) unsafe fn long(\n) {{\n{body}}}\nfn short() {{}}\n")
    }

    #[test]
    fn function_is_counted_from_name_to_brace() {
        let text = of(38);
        let found = |text: &str| -> Vec<_> {
            functions(text)
                .map(|of| (of.name.to_owned(), of.lines, of.is_marked))
                .collect()
        };
        let named = |name: &str, lines, is_marked| (name.to_owned(), lines, is_marked);
        let expected = [named("long", 41, false), named("short", 1, false)];
        assert_eq!(found(&text), expected);
        let inner =
            "impl T {\n    fn a(&self);\n    fn b() {\n        if x {\n        }\n    }\n}\n";
        assert_eq!(found(inner), [named("a", 1, false), named("b", 4, false)]);
        let marked = "#[cfg(target_os = \"macos\")]\n#[must_use]\nfn a() {}\n";
        assert_eq!(found(marked), [named("a", 1, true)]);
    }

    #[test]
    fn modules_of_macos_are_found_with_what_lies_below() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let files = [
            file(
                "a/src/lib.rs",
                "#[cfg(target_os = \"macos\")]\nmod os;\nmod all;\n",
            ),
            file(
                "a/src/all.rs",
                "#[cfg(any(target_os = \"macos\", test))]\nmod values;\n#[cfg(target_os = \"macos\")]\npub(crate) mod log;\n",
            ),
            file("b/src/macos.rs", "#![cfg(target_os = \"macos\")]\n"),
        ];
        let found = of_macos(&files);
        let expected = [
            "a/src/all/log",
            "a/src/all/log.rs",
            "a/src/os",
            "a/src/os.rs",
            "b/src/macos.rs",
        ];
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            expected.map(PathBuf::from)
        );
    }

    #[test]
    fn long_function_of_macos_is_a_breach() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for place in PLACES {
            std::fs::create_dir_all(root.path().join(place)).unwrap();
        }
        write(
            "ipc/src/lib.rs",
            "#[cfg(target_os = \"macos\")]\nmod os;\nmod other;\n",
        );
        write(REASONS, "| `long` | a reason |\n");
        write("ipc/src/os.rs", &of(37));
        // Its namesake of another package, and of the same one.
        write("workers/a/src/lib.rs", "fn short() {}\n");
        let [breach] = &breaches(root.path()).unwrap()[..] else {
            panic!("one breach")
        };
        assert!(
            breach.starts_with("ipc/src/os.rs: `short` has no twin"),
            "{breach}"
        );
        write("ipc/src/other.rs", &of(100));
        assert_eq!(breaches(root.path()).unwrap(), [""; 0]);
        write("ipc/src/os.rs", &of(38));
        let [breach] = &breaches(root.path()).unwrap()[..] else {
            panic!("one breach")
        };
        assert!(
            breach.starts_with("ipc/src/os.rs: `long` has 41 lines"),
            "{breach}"
        );
    }
}
