//! `cargo xtask promises`: breaks one promise at a time, in a copy, and sees whether a test notices.
//!
//! A suite that is green says little of itself: a test that cannot fail is green as well. `tests/promises` holds, for each
//! promise that matters most, the smallest change that breaks it. This command applies one after the other and fails
//! where the named tests stay green. It takes minutes for each the first time; nothing of it touches the person's files.
//!
//! ```text
//! copy ▸ for each: green without ▸ for each: break ▸ build ▸ red ▸ take back ▸ table
//! ```
//!
//! Whether each still applies, and its tests are there, is a test of every run of the suite.

mod breakage;
pub(crate) mod scratch;
mod tried;

use crate::cargo;
use anyhow::{Result, bail, ensure};
use breakage::{Breakage, Guard, Test};
use scratch::Scratch;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;
use tried::Verdict;

/// Break one promise at a time in a copy; fails where no test notices
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Only these, by name
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Say what there is, and break nothing
    #[arg(long)]
    list: bool,
    /// One JSON array instead of a table
    #[arg(long)]
    json: bool,
}

/// What came of one.
struct Seen<'b> {
    breakage: &'b Breakage,
    /// Nothing: it was noticed as it should be.
    wrong: Option<String>,
}

/// Breaks all of them.
pub(crate) fn all() -> Result<()> {
    run(&Arguments::default())
}

/// Lists or breaks.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let all = Breakage::all(&folder())?;
    for name in &arguments.only {
        ensure!(
            all.iter().any(|b| &b.name == name),
            "there is no {name} in tests/promises; --list says what there is"
        );
    }
    let chosen = |b: &&Breakage| arguments.only.is_empty() || arguments.only.contains(&b.name);
    let chosen: Vec<&Breakage> = all.iter().filter(chosen).collect();
    if arguments.list {
        let listed = chosen.iter().map(|b| Seen {
            breakage: b,
            wrong: None,
        });
        print(arguments, &listed.collect::<Vec<_>>(), "");
        return Ok(());
    }
    let seen = broken_in_turn(&chosen)?;
    print(arguments, &seen, "red");
    let wrong = seen.iter().filter(|s| s.wrong.is_some()).count();
    ensure!(
        wrong == 0,
        "{wrong} of {} were not noticed as they should be",
        seen.len()
    );
    Ok(())
}

fn folder() -> PathBuf {
    cargo::root().join("tests/promises")
}

fn broken_in_turn<'b>(chosen: &[&'b Breakage]) -> Result<Vec<Seen<'b>>> {
    eprintln!(
        "copying to target/promises, and building what the tests need (the first time takes minutes)"
    );
    let scratch = Scratch::open()?;
    let targets = chosen.iter().flat_map(|b| b.targets());
    let targets: std::collections::BTreeSet<_> = targets.collect();
    if let Some(errors) = tried::build(&scratch, targets)? {
        bail!("it does not build unbroken:\n{errors}");
    }
    let mut unbroken = BTreeMap::new();
    for test in chosen.iter().flat_map(|b| &b.red) {
        if !unbroken.contains_key(test) {
            eprintln!("unbroken: {}", test.shown());
            unbroken.insert(test, tried::run(&scratch, test)?);
        }
    }
    let mut seen = Vec::new();
    for (n, breakage) in chosen.iter().enumerate() {
        let began = Instant::now();
        eprint!("[{}/{}] {}: ", n + 1, chosen.len(), breakage.name);
        let wrong = match not_green(breakage, &unbroken) {
            Some(wrong) => Some(wrong),
            None => scratch.broken(breakage, || noticed(&scratch, breakage))?,
        };
        let word = wrong.as_deref().unwrap_or("red, as it should be");
        eprintln!("{word} ({} s)", began.elapsed().as_secs());
        seen.push(Seen { breakage, wrong });
    }
    Ok(seen)
}

fn not_green(breakage: &Breakage, unbroken: &BTreeMap<&Test, Verdict>) -> Option<String> {
    let other = |test: &&Test| unbroken.get(test) != Some(&Verdict::Green);
    let test = breakage.red.iter().find(other)?;
    Some(match unbroken.get(test) {
        Some(Verdict::Red) => format!("{} is red unbroken", test.shown()),
        _ => format!("{} did not run", test.shown()),
    })
}

/// What is wrong with how the breakage that is applied was noticed.
fn noticed(scratch: &Scratch, breakage: &Breakage) -> Result<Option<String>> {
    if let Guard::Types(error) = &breakage.guard {
        let mut check = scratch.cargo();
        let ends = ["-p", "plexusd", "-p", "plexusctl"];
        check
            .args(["check", "--quiet", "--locked", "--keep-going"])
            .args(ends);
        let said = check.output()?;
        let stderr = String::from_utf8_lossy(&said.stderr);
        let refused = refused_where_it_is_broken(&stderr, error, breakage);
        return Ok(match (said.status.success(), refused) {
            (false, true) => None,
            (true, _) => Some("IT COMPILES".to_owned()),
            (false, false) => Some(format!(
                "the compiler refuses it, but not with {error} where it should"
            )),
        });
    }
    if let Some(errors) = tried::build(scratch, breakage.targets())? {
        return Ok(Some(format!(
            "IT DOES NOT COMPILE, which proves nothing:\n{errors}"
        )));
    }
    let mut green = Vec::new();
    for test in &breakage.red {
        match tried::run(scratch, test)? {
            Verdict::Red => {}
            Verdict::Green => green.push(format!("{} STAYED GREEN", test.shown())),
            Verdict::Missing => green.push(format!("{} did not run to its end", test.shown())),
        }
    }
    Ok((!green.is_empty()).then(|| green.join(", ")))
}

fn print(arguments: &Arguments, seen: &[Seen<'_>], good: &str) {
    if arguments.json {
        let rows = seen.iter().map(|s| {
            serde_json::json!({
                "name": s.breakage.name,
                "promise": s.breakage.promise,
                "broken": s.breakage.broken,
                "tests": s.breakage.red.iter().map(Test::shown).collect::<Vec<_>>(),
                "wrong": s.wrong,
            })
        });
        println!("{}", serde_json::Value::Array(rows.collect()));
        return;
    }
    for s in seen {
        let word = s.wrong.as_deref().unwrap_or(good);
        println!("{:<28} {}", s.breakage.name, s.breakage.promise);
        println!("{:<28} broken: {}", "", s.breakage.broken);
        println!("{:<28} {word} {}", "", noticing(s.breakage, ""));
    }
}

/// Whether the compiler says this error of a file that the breakage changes, or of each that it names.
fn refused_where_it_is_broken(stderr: &str, error: &str, breakage: &Breakage) -> bool {
    let named = format!("[{error}]");
    let is_said_of = |file: &str| {
        let mut said = stderr
            .split("\nerror")
            .flat_map(|one| one.split("\nwarning"));
        said.any(|one| {
            let first = one.trim_start_matches("error");
            let place = one
                .lines()
                .find_map(|line| line.trim_start().strip_prefix("--> "));
            first.starts_with(&named)
                && place.is_some_and(|place| place.starts_with(&format!("{file}:")))
        })
    };
    match &breakage.places[..] {
        [] => breakage.changes.iter().any(|c| is_said_of(&c.file)),
        places => places.iter().all(|place| is_said_of(place)),
    }
}

/// Who notices, each name between `quote`s.
fn noticing(breakage: &Breakage, quote: &str) -> String {
    if let Guard::Types(error) = &breakage.guard {
        return format!("the compiler ({error})");
    }
    let tests = breakage
        .red
        .iter()
        .map(|t| format!("{quote}{}{quote}", t.shown()));
    tests.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    const BEGIN: &str =
        "<!-- promises: begin (written by the test with PLEXUS_UPDATE_GOLDENS=1) -->\n";
    const END: &str = "<!-- promises: end -->";
    /// How many there are: a new one raises it, and none goes unnoticed.
    const PROMISES: usize = 36;

    fn every() -> Vec<Breakage> {
        Breakage::all(&folder()).unwrap()
    }

    #[test]
    fn every_breakage_still_applies() {
        let all = every();
        assert!(all.len() >= PROMISES, "only {} promises", all.len());
        for breakage in &all {
            for change in &breakage.changes {
                let text = fs::read_to_string(cargo::root().join(&change.file));
                let name = &breakage.name;
                let text = text.unwrap_or_else(|e| panic!("{name}: {}: {e}", change.file));
                let broken = change.applied(&text);
                broken.unwrap_or_else(|why| panic!("tests/promises/{name}.txt: {why}"));
            }
        }
    }

    #[test]
    fn every_named_test_is_there() {
        let metadata = cargo::metadata("x86_64-unknown-linux-gnu").unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        for breakage in every() {
            for test in &breakage.red {
                let package = packages.iter().find(|p| p["name"] == test.package.as_str());
                let package = package.unwrap_or_else(|| panic!("no package {}", test.package));
                let target = package["targets"].as_array().unwrap().iter().find(|t| {
                    let kind = |word: &str| t["kind"].as_array().unwrap().iter().any(|k| k == word);
                    match test.target.split_once(':') {
                        None if test.target == "lib" => kind("lib"),
                        None => kind("test") && t["name"] == test.target.as_str(),
                        Some((_, program)) => kind("bin") && t["name"] == program,
                    }
                });
                let target =
                    target.unwrap_or_else(|| panic!("{} has no {}", test.package, test.target));
                let root = Path::new(target["src_path"].as_str().unwrap());
                let (of, name) = (&breakage.name, &test.name);
                assert!(is_there(root, name), "tests/promises/{of}.txt: no {name}");
            }
        }
    }

    /// Whether a source near a target's root defines a test of that name.
    fn is_there(root: &Path, test: &str) -> bool {
        let name = test.rsplit("::").next().unwrap_or(test);
        let mut open = vec![root.parent().unwrap().to_path_buf()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    let defined = text.split(&format!("fn {name}(")).collect::<Vec<_>>();
                    let marks = |l: &str| l.contains("#[test]") || l.contains("#[tokio::test");
                    let marked = |before: &&str| {
                        let lines = before.lines().rev().take(12);
                        lines.take_while(|l| l.trim() != "}").any(marks)
                    };
                    if defined.len() > 1 && defined[..defined.len() - 1].iter().any(marked) {
                        return true;
                    }
                }
            }
        }
        false
    }

    #[test]
    fn a_test_that_is_not_there_is_missed() {
        let here = cargo::root().join("xtask/src/main.rs");
        assert!(is_there(&here, "tests::a_test_that_is_not_there_is_missed"));
        assert!(!is_there(&here, "tests::run") && !is_there(&here, "tests::nothing"));
    }

    #[test]
    fn another_error_and_another_file_prove_nothing() {
        let breakage = every().into_iter().find(|b| b.guard != Guard::Tests);
        let breakage = breakage.expect("a promise that the compiler keeps");
        let file = &breakage.changes[0].file;
        let said = |error: &str, file: &str| {
            format!(
                "warning: unused\n --> {file}:1:1\n\nerror[{error}]: private\n   --> {file}:9:9\n    |\n\nerror: could not compile\n"
            )
        };
        let noticed = |text: &str| refused_where_it_is_broken(text, "E0451", &breakage);
        assert!(noticed(&said("E0451", file)));
        let bare = said("E0451", file).replacen("warning: unused\n", "", 1);
        assert!(noticed(&bare));
        assert!(!noticed(&said("E0308", file)));
        assert!(!noticed(&said("E0451", "xtask/src/main.rs")));
        let both = Breakage {
            places: vec!["a.rs".to_owned(), "b.rs".to_owned()],
            ..breakage
        };
        let [a, b] = ["a.rs", "b.rs"].map(|place| said("E0451", place));
        assert!(!refused_where_it_is_broken(&a, "E0451", &both));
        assert!(refused_where_it_is_broken(&(a + &b), "E0451", &both));
    }

    #[test]
    fn the_coverage_page_lists_them() {
        let path = cargo::root().join("tests/reports/coverage.md");
        let page = fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("the beginning of the list");
        let (listed, after) = rest.split_once(END).expect("its end");
        let mut table = "\n| promise | broken by | what turned red |\n|---|---|---|\n".to_owned();
        for b in every() {
            let Breakage {
                name,
                promise,
                broken,
                ..
            } = &b;
            let red = noticing(&b, "`");
            table.push_str(&format!("| {promise} (`{name}`) | {broken} | {red} |\n"));
        }
        table.push('\n');
        if std::env::var_os("PLEXUS_UPDATE_GOLDENS").is_some() {
            fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        } else {
            assert_eq!(
                listed, table,
                "tests/reports/coverage.md: PLEXUS_UPDATE_GOLDENS=1 writes it anew"
            );
        }
    }
}
