//! Any text as a profile: refused, or a cage that is no wider than the text says.

use plexus_mutation::{Accepted, hold};
use plexus_sandbox::profile::Profile;
use plexus_sandbox::ruleset::{Parameters, PathGrant, Ruleset};
use std::path::Component;

fn parameters(role: &str) -> Parameters {
    [
        ("ROOT", "/root-of-it"),
        ("SCRATCH", "/scratch/of it"),
        ("WORKER", "/opt/worker"),
        ("PORT", "7077"),
        ("ROLE", role),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

fn grants(ruleset: &Ruleset) -> impl Iterator<Item = &PathGrant> {
    ruleset
        .reads
        .iter()
        .chain(&ruleset.writes)
        .chain(&ruleset.executes)
}

/// What is granted is said: by a rule of the text, on the line it names, with a path made of the text and the
/// parameters alone.
fn profile(bytes: &[u8]) -> Accepted {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(profile) = Profile::parse(text) else {
        return false;
    };
    assert!(
        text.contains("deny") && text.contains("default"),
        "the default is said"
    );
    let written = profile.to_string();
    let back = Profile::parse(&written).expect("what was read can be written");
    assert_eq!(back.forms.len(), profile.forms.len());
    assert_eq!(back.to_string(), written, "one way of writing");
    // A comment, a space or an empty line between forms says nothing.
    let spaced = Profile::parse(&format!(
        "; (allow network*)\n\n {text}\n; (allow file-write* (subpath \"/\"))"
    ));
    let spaced = spaced.expect("comments are comments");
    assert_eq!(spaced.to_string(), written);

    let lines = text.lines().count();
    for role in ["reader", "writer"] {
        let given = parameters(role);
        let judged = [&profile, &back].map(|profile| Ruleset::evaluate(profile, &given));
        let [Ok(ruleset), Ok(again)] = &judged else {
            let [reason, again] = judged.map(|judged| {
                let why = judged.map(drop).map_err(|error| error.reason);
                why.map_err(|reason| std::mem::discriminant(&reason))
            });
            assert_eq!(reason, again);
            continue;
        };
        let paths = |ruleset: &Ruleset| -> Vec<_> {
            let all = grants(ruleset).map(|grant| (grant.path.clone(), grant.extent));
            all.collect()
        };
        assert_eq!(
            paths(ruleset),
            paths(again),
            "it means what it is written as"
        );
        for grant in grants(ruleset) {
            assert!(grant.path.is_absolute());
            let plain =
                |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
            assert!(
                grant.path.components().all(plain),
                "{}",
                grant.path.display()
            );
            assert!((1..=lines).contains(&(grant.origin.line as usize)));
            assert!(
                grant.origin.rule.starts_with("(allow "),
                "{}",
                grant.origin.rule
            );
            // Its rule by itself grants it, and nothing that the whole did not.
            let alone = format!("(version 1)\n(deny default)\n{}", grant.origin.rule);
            let alone = Profile::parse(&alone).expect("a rule is a form");
            let alone = Ruleset::evaluate(&alone, &given).expect("as in the whole");
            assert!(paths(&alone).contains(&(grant.path.clone(), grant.extent)));
        }
        for port in &ruleset.connects {
            assert!(port.port > 0 && port.origin.rule.contains("network"));
        }
        // Without the words there is no such right, however the text is spelled.
        assert!(!ruleset.forks || text.contains("process-fork"));
        assert!(ruleset.writes.is_empty() || text.contains("file-write"));
        assert!(ruleset.executes.is_empty() || text.contains("process-exec"));
        assert!(ruleset.connects.is_empty() || text.contains("network"));
        assert_eq!(ruleset.base.is_some(), profile.import.is_some());
        let _ = ruleset.residuals();
    }
    true
}

#[test]
fn a_profile_grants_what_it_says() {
    let corpus = format!("{}/tests/corpus", env!("CARGO_MANIFEST_DIR"));
    let words: &[&[u8]] = &[
        b"(allow file-read* (subpath \"/\"))",
        b"(allow network*)",
        b"(deny network*)",
        b"(allow process-fork)",
        b"(param \"ROOT\")",
        b"(string-append ",
        b"(if (param \"ROLE\") ",
        b"(import \"bsd.sb\")",
        b"file-write*",
        b"\\x2e",
        b"../",
        b"//",
        b"#;",
        b"|",
        b";",
        b"\"",
        b"\0",
    ];
    hold(corpus, words, profile);
}
