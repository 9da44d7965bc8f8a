//! The gateway's routes: the owner's table, and what the sources of the other routers declare.

use plexus_owner::TABLE;
use std::path::Path;

/// A method, and a path in which names stand in braces.
pub type Route = (&'static str, String);

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

/// The agents' routes, in their order.
#[must_use]
pub fn of_agents() -> Vec<Route> {
    declared(&source("gateway/edge/src/agent.rs"), "")
}

/// The owner's routes; those of the management API below each of `prefixes`.
///
/// # Panics
/// Where the source has another form.
#[must_use]
pub fn of_owner(prefixes: &[&str]) -> Vec<Route> {
    let text = source("gateway/desk/src/owner.rs");
    let (whole, nested) = text
        .split_once("\nfn management()")
        .expect("the routes below the prefixes");
    let table = |prefix: &&str| -> Vec<Route> {
        let rows = TABLE.iter();
        rows.map(|row| (row.method.as_str(), format!("{prefix}{}", row.route())))
            .collect()
    };
    let nested = prefixes
        .iter()
        .flat_map(|prefix| table(prefix).into_iter().chain(declared(nested, prefix)));
    nested.chain(declared(whole, "")).collect()
}

/// The routes by which another machine is set up: the owner's, then the public ones.
#[must_use]
pub fn of_integration() -> Vec<Route> {
    declared(&source("gateway/desk/src/integration.rs"), "")
}

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    std::fs::read_to_string(path).expect("the source")
}

fn declared(text: &str, prefix: &str) -> Vec<Route> {
    let mut all = Vec::new();
    for route in text.split(".route(").skip(1).map(arguments) {
        let path = route.split('"').nth(1).expect("a path");
        let methods: Vec<&str> = METHODS
            .into_iter()
            .filter(|method| route.contains(&format!("{}(", method.to_lowercase())))
            .collect();
        assert!(!methods.is_empty(), "how is {path} asked for?");
        all.extend(methods.into_iter().map(|m| (m, format!("{prefix}{path}"))));
    }
    all
}

/// The text between a call's parentheses; `text` begins behind the first of them.
fn arguments(text: &str) -> &str {
    let mut open = 1;
    let end = text.find(|c: char| {
        open += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        open == 0
    });
    &text[..end.expect("the end of a call")]
}
