//! What a run with `mode=direct` brings into the folder with its own approval: a list of what lands, and all else waits.
//!
//! ```text
//! a path ─▶ do tools run it? ─▶ settings? ─▶ a document lands │ a source file that was there, and that no tool loads by its
//! name, lands │ all else waits
//! ```
//! Invariants: a kind of file that nobody thought of waits; what a file says does not count, its path and its past do.
//!
//! Must not know: change sets, folders.

use plexus_rooted_files::{RelPath, names::fold_for_guard, runs_unasked};

/// Documents and images, by the end of their names. A picture in SVG may hold programs.
const DOCUMENTS: [&str; 13] = [
    "md", "txt", "rst", "csv", "png", "jpg", "jpeg", "gif", "webp", "avif", "bmp", "tif", "tiff",
];
/// Source files: what somebody builds or runs by name. Not shells' and editors' own languages, and no form of settings.
const SOURCES: [&str; 46] = [
    "rs", "c", "h", "cc", "cpp", "cxx", "hh", "hpp", "hxx", "m", "mm", "go", "java", "kt", "scala",
    "swift", "cs", "fs", "vb", "dart", "zig", "d", "py", "pyi", "rb", "php", "pl", "pm", "js",
    "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx", "vue", "svelte", "css", "scss", "less", "html",
    "hs", "ml", "erl", "ex",
];
/// Folders of settings that do not begin with a dot.
const SETTINGS: [&str; 10] = [
    "config",
    "configs",
    "configuration",
    "conf",
    "conf.d",
    "etc",
    "settings",
    "hooks",
    "scripts",
    "plugins",
];

/// Source files that build tools, test runners and servers load by their names: the beginning of a name, or a part of it.
const LOADED: [&str; 19] = [
    "build.",
    "conf.",
    "dodo.",
    "fabfile.",
    "gruntfile.",
    "gulpfile.",
    "hatch_build.",
    "jakefile.",
    "locustfile.",
    "magefile.",
    "makefile.",
    "manage.",
    "noxfile.",
    "pdm_build.",
    "rector.",
    "rollup.",
    "tasks.",
    "webpack.",
    "__main__.",
];
const LOADED_PARTS: [&str; 7] = [
    "bootstrap",
    "config",
    ".conf.",
    "_helper.",
    "settings",
    "setup",
    "teardown",
];
/// Texts that package tools load, by the beginning of their names.
const LISTS: [&str; 3] = ["constraints", "meson_options", "requirements"];

const OF_SETTINGS: &str = "tools may take settings from there";
const BY_NAME: &str = "tools load a file of this name";
const NEW_SOURCE: &str = "it is a new source file, which tools may load";
const OTHER: &str = "it is neither a document nor a source file that was there";

/// Why a change of a path waits for a card of its own; none: it lands.
pub(crate) fn why_it_waits(path: &RelPath, was_there: bool) -> Option<&'static str> {
    if let Some(why) = runs_unasked(path) {
        return Some(why);
    }
    let components: Vec<String> = path.components().map(fold_for_guard).collect();
    let (name, folders) = components.split_last()?;
    let is_settings = components.iter().any(|name| name.starts_with('.'))
        || folders.iter().any(|name| SETTINGS.contains(&&**name));
    if is_settings {
        return Some(OF_SETTINGS);
    }
    let begins = |list: &[&str]| list.iter().any(|begin| name.starts_with(begin));
    let end = name.rsplit_once('.').map_or("", |(_, end)| end);
    if DOCUMENTS.contains(&end) {
        return (end == "txt" && begins(&LISTS)).then_some(BY_NAME);
    }
    if !SOURCES.contains(&end) {
        return Some(OTHER);
    }
    if begins(&LOADED) || LOADED_PARTS.iter().any(|part| name.contains(part)) {
        return Some(BY_NAME);
    }
    (!was_there).then_some(NEW_SOURCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_lands_only_if_it_is_on_the_list() {
        let waits = |path: &str, was_there| {
            let path = RelPath::parse(path).unwrap();
            why_it_waits(&path, was_there)
        };
        for path in [
            "README.md",
            "docs/a.TXT",
            "a.csv",
            "img/logo.PNG",
            "docs/x.rst",
        ] {
            assert_eq!(
                [true, false].map(|there| waits(path, there)),
                [None, None],
                "{path}"
            );
        }
        for path in ["src/main.rs", "lib/a.PY", "web/app.tsx", "deep/er/x.c"] {
            let there = [true, false].map(|there| waits(path, there));
            assert_eq!(there, [None, Some(NEW_SOURCE)], "{path}");
        }
        for (path, why) in [
            (".new/notes.md", OF_SETTINGS),
            (".\u{200b}new/notes.md", OF_SETTINGS),
            ("\u{200b}.new.md", OF_SETTINGS),
            ("config/app.py", OF_SETTINGS),
            ("Config/README.md", OF_SETTINGS),
            ("requirements-dev.txt", BY_NAME),
            ("web/jest.setup.ts", BY_NAME),
            ("spec/spec_helper.rb", BY_NAME),
            ("gulpfile.mjs", BY_NAME),
            ("logo.svg", OTHER),
            ("data.json", OTHER),
            ("run", OTHER),
            ("run.sh", OTHER),
            ("md", OTHER),
        ] {
            assert_eq!(waits(path, true), Some(why), "{path}");
        }
    }
}
