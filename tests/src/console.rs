//! The pages of the console, by its own lists: a page that is added there is in every story that looks at all of them.

use std::collections::BTreeSet;
use std::path::Path;

/// What stands between two marks.
fn part<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    let rest = text.split(begin).nth(1).expect("its beginning");
    rest.split(end).next().expect("its end")
}

/// The pages and what fills parts of them, below `/admin`, or `/admin/console`; one of many of a kind has a name in braces. The
/// list of requests is none of them: a script shows it.
///
/// # Panics
/// When the console's lists are not where they were.
#[must_use]
pub fn routes() -> Vec<&'static str> {
    let listed = include_str!("../../gateway/desk/src/console/pages.rs");
    let listed = part(listed, "const PAGES", "\n];").split("page(\"/admin");
    let listed = listed.skip(1).filter_map(|row| row.split('"').next());
    let parts = include_str!("../../gateway/desk/src/console.rs");
    let parts = part(parts, "fn pages()", "\n}\n").split(".route(");
    let parts = parts.skip(1).filter(|row| row.contains("get("));
    let parts = parts.filter_map(|row| row.split('"').nth(1));
    let routes: Vec<&str> = listed.chain(parts).collect();
    assert!(routes.len() > 25, "{routes:?}");
    routes
}

/// Where forms send what is typed, and are answered by a page: below `/admin/console`; one of many of a kind has a name in
/// braces. By the console's templates.
///
/// # Panics
/// When the templates cannot be read, or name no form.
#[must_use]
pub fn form_pages() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/desk/templates");
    let mut pages = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the templates") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|kind| kind != "html") {
            continue;
        }
        let text = std::fs::read_to_string(path).expect("a text");
        for (mark, step) in [("data-form-page", ""), ("data-steps", "/preview")] {
            let mark = format!("{mark}=\"/admin/console");
            let found = text.split(&mark).skip(1);
            let sent = found.map(|rest| rest.split('"').next().expect("an end"));
            let sent = sent.map(|sent| sent.replace("{{ ", "{").replace(" }}", "}"));
            pages.extend(sent.map(|sent| format!("{sent}{step}")));
        }
    }
    assert!(pages.len() > 5, "{pages:?}");
    pages
}

/// The same pages as [`routes`], each with the addresses at which somebody looks at it: as it stands, or as `instances` has it.
///
/// # Panics
/// When a page has a part to fill in and no address.
#[must_use]
pub fn addresses(instances: &[(&str, Vec<String>)]) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for route in routes() {
        let known = instances.iter().find(|(of, _)| *of == route);
        match known {
            Some((_, at)) => all.extend(at.iter().map(|at| (route, at.clone()))),
            None if !route.contains('{') => all.push((route, route.to_owned())),
            None => panic!("a page that nobody gave an address: {route}"),
        }
    }
    all
}

/// Where what fills the page of an address lies.
#[must_use]
pub fn inside(address: &str) -> String {
    match address {
        "" => "/admin/console/overview".to_owned(),
        rest => format!("/admin/console{rest}"),
    }
}
