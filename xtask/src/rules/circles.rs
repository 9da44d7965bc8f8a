//! Files of the gateway that import each other in a loop: a reader has to know all of them to know one.
//!
//! Imports are read as text, of code that rustfmt laid out; tests at the end of a file do not count.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Most files of one loop.
const MOST: usize = 4;

/// A module, by the names on the way to it; that of the crate's root has none.
type Module = Vec<String>;

/// One line for each loop of too many files.
pub(crate) fn breaches(root: &Path) -> Result<Vec<String>> {
    let gateway = root.join("gateway");
    let mut breaches = Vec::new();
    let crates =
        std::fs::read_dir(&gateway).with_context(|| format!("reading {}", gateway.display()))?;
    for one in crates {
        let source = one?.path().join("src");
        if source.is_dir() {
            let mut files = BTreeMap::new();
            read(&source, &mut Vec::new(), &mut files)?;
            let source = source.strip_prefix(root).unwrap_or(&source).display();
            breaches.extend(loops(&files).into_iter().map(|names| {
                format!(
                    "{source}: {} files import each other in a loop, more than {MOST}: {}",
                    names.len(),
                    names.join(", ")
                )
            }));
        }
    }
    Ok(breaches)
}

/// Every file below a folder, without its tests.
fn read(folder: &Path, at: &mut Module, files: &mut BTreeMap<Module, String>) -> Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            at.push(name.into_owned());
            read(&path, at, files)?;
            at.pop();
        } else if path.extension().is_some_and(|end| end == "rs") && name != "main" {
            let text = std::fs::read_to_string(&path)?;
            let code = text.split("\n#[cfg(test)]\nmod ").next();
            let mut module = at.clone();
            if name != "lib" {
                module.push(name.into_owned());
            }
            files.insert(module, code.unwrap_or_default().to_owned());
        }
    }
    Ok(())
}

fn loops(files: &BTreeMap<Module, String>) -> Vec<Vec<String>> {
    let imports: BTreeMap<&Module, BTreeSet<&Module>> = files
        .iter()
        .map(|(module, code)| (module, imported(module, code, files)))
        .collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = files
        .keys()
        .map(|module| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![module]);
            while let Some(next) = open.pop() {
                let new = imports[next].iter().filter(|to| seen.insert(**to));
                open.extend(new.collect::<Vec<_>>());
            }
            (module, seen)
        })
        .collect();
    let both =
        |one: &Module, other: &Module| reached[one].contains(other) && reached[other].contains(one);
    let mut loops: Vec<Vec<String>> = files
        .keys()
        .map(|one| files.keys().filter(|other| both(one, other)))
        .map(|with| with.map(|module| module.join("::")).collect::<Vec<_>>())
        .filter(|with: &Vec<String>| with.len() > MOST)
        .collect();
    loops.sort();
    loops.dedup();
    loops
}

/// The files that a file imports from.
fn imported<'f>(
    module: &Module,
    code: &str,
    files: &'f BTreeMap<Module, String>,
) -> BTreeSet<&'f Module> {
    let parent = &module[..module.len().saturating_sub(1)];
    let mut found = BTreeSet::new();
    for (start, base) in [
        ("crate::", &[][..]),
        ("super::", parent),
        ("\nuse ", module),
    ] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let mut paths = Vec::new();
            paths_of(&code[at + start.len()..], &mut base.to_vec(), &mut paths);
            for path in paths {
                // A name of another crate is no module of this one.
                let from = usize::from(start != "crate::");
                let mut known = (from..=path.len()).rev();
                let file = known.find_map(|len| files.get_key_value(&path[..len]));
                if let Some((file, code)) = file
                    && path.get(file.len()).is_none_or(|name| defines(code, name))
                {
                    found.insert(file);
                }
            }
        }
    }
    found.remove(module);
    found
}

/// Whether a file defines a name. One that it hands on is defined elsewhere.
fn defines(code: &str, name: &str) -> bool {
    let kinds = [
        "struct", "enum", "fn", "trait", "type", "const", "static", "union",
    ];
    name == "self"
        || kinds.iter().any(|kind| {
            let defined = format!("{kind} {name}");
            let ends = |at: usize| code[at + defined.len()..].chars().next();
            code.match_indices(&defined)
                .any(|(at, _)| ends(at).is_none_or(|c| !c.is_alphanumeric() && c != '_'))
        })
}

/// All paths of a `use`, or the one of an expression; gives what is behind it.
fn paths_of<'c>(code: &'c str, at: &mut Module, paths: &mut Vec<Module>) -> &'c str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = paths_of(rest, at, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, rest) = code.split_at(end.unwrap_or(code.len()));
    if name.is_empty() {
        return rest;
    }
    at.push(name.to_owned());
    let rest = match rest.strip_prefix("::") {
        Some(more) => paths_of(more, at, paths),
        None => {
            paths.push(at.clone());
            rest
        }
    };
    at.pop();
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> BTreeMap<Module, String> {
        let module = |name: &str| -> Module {
            let names = name.split("::").filter(|n| !n.is_empty());
            names.map(str::to_owned).collect()
        };
        let all = all.iter();
        all.map(|(name, code)| (module(name), format!("\n{code}")))
            .collect()
    }

    #[test]
    fn loop_of_five_is_found_however_it_is_written() {
        let mut all = vec![
            ("", "pub mod a;"),
            (
                "a",
                "use crate::{b::B, c};\nuse std::fs;\npub(crate) struct A;",
            ),
            ("b", "struct B;\nfn f() { crate::c::g(); }"),
            ("c", "use d::D;\nfn g() {}"),
            ("c::d", "enum D {}\nuse crate::e::{self, E as Other};"),
            ("e", "trait E {}\nuse super::a::A;"),
        ];
        assert_eq!(loops(&files(&all)), [["a", "b", "c", "c::d", "e"]]);
        for other in ["use other_crate::a::A;", "use super::a::HandedOn;"] {
            all[5].1 = other;
            assert!(loops(&files(&all)).is_empty(), "{other}");
        }
    }
}
