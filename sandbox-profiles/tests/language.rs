//! The profile language: what parses means one thing, what does not is refused with its line.

use plexus_sandbox::profile::{
    Action, Argument, Clause, Condition, Filter, Form, Profile, ProfileError, Reason, Rule,
    SystemCalls, Text,
};
use plexus_sandbox::ruleset::{Extent, Host, Parameters, Ruleset};
use proptest::collection::vec;
use proptest::prelude::*;

const HEADER: &str = "(version 1)\n(deny default)\n";

fn evaluate(rules: &str) -> Result<Ruleset, ProfileError> {
    let parameters: Parameters = [
        ("ROOT", "/root"),
        ("PORT", "7077"),
        ("ROLE", "reader"),
        ("BAD", "relative/path"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    Ruleset::evaluate(&Profile::parse(&format!("{HEADER}{rules}"))?, &parameters)
}

/// The rules are refused, for this reason, at this line of `rules` (from 1).
#[track_caller]
fn refused(rules: &str, line: u32, reason: &Reason) {
    let error = evaluate(rules).expect_err(rules);
    assert_eq!((error.line, &error.reason), (line + 2, reason), "{error}");
}

fn wider(what: &str) -> Reason {
    Reason::Wider(what.to_owned())
}

#[test]
fn grants_carry_their_rule() {
    let ruleset = evaluate(
        "; a comment\n(allow file-read* (subpath (param \"ROOT\"))\n  (literal \"/a b\"))",
    )
    .expect("it evaluates");
    let grants: Vec<_> = ruleset
        .reads
        .iter()
        .map(|grant| (grant.path.to_str(), grant.extent, grant.origin.line))
        .collect();
    assert_eq!(
        grants,
        [
            (Some("/root"), Extent::Subtree, 4),
            (Some("/a b"), Extent::Literal, 4)
        ]
    );
    assert_eq!(
        ruleset.reads[0].origin.rule,
        "(allow file-read* (subpath (param \"ROOT\")) (literal \"/a b\"))"
    );
    assert_eq!((ruleset.writes, ruleset.base), (vec![], None));
}

#[test]
fn conditions_choose_rules() {
    let reads = |rules: &str| evaluate(rules).expect("it evaluates").reads.len();
    assert_eq!(
        reads("(if (string=? (param \"ROLE\") \"reader\") (allow file-read* (subpath \"/a\")))"),
        1
    );
    assert_eq!(
        reads("(if (string=? (param \"ROLE\") \"writer\") (allow file-read* (subpath \"/a\")))"),
        0
    );
    assert_eq!(
        reads("(if (param \"ROOT\") (allow file-read* (subpath \"/a\")))"),
        1
    );
    assert_eq!(
        reads("(if (param \"OTHER\") (allow file-read* (subpath (param \"OTHER\"))))"),
        0
    );
    assert_eq!(
        reads(
            "(if (param \"OTHER\") (allow file-read* (subpath \"/a\")) (allow file-read* (subpath \"/b\") (subpath \"/c\")))"
        ),
        2
    );
    refused(
        "(if (string=? (param \"OTHER\") \"x\") (allow file-read* (subpath \"/a\")))",
        1,
        &Reason::MissingParameter("OTHER".to_owned()),
    );
    // A rule that is off today must be sound all the same.
    refused(
        "(if (param \"OTHER\") (allow file-frobnicate (subpath \"/a\")))",
        1,
        &Reason::UnknownOperation("file-frobnicate".to_owned()),
    );
}

#[test]
fn ports_are_numbers_on_loopback_or_anywhere() {
    let ports = |rules: &str| {
        evaluate(rules)
            .expect("it evaluates")
            .connects
            .iter()
            .map(|grant| (grant.host, grant.port))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ports("(allow network-outbound (remote tcp \"localhost:80\") (remote tcp \"*:443\"))"),
        [(Host::Localhost, 80), (Host::Any, 443)]
    );
    assert_eq!(
        ports(
            "(allow network-outbound (remote tcp (string-append \"localhost:\" (param \"PORT\"))))"
        ),
        [(Host::Localhost, 7077)]
    );
    for endpoint in [
        "localhost",
        "localhost:0",
        "localhost:*",
        "*:65536",
        "10.0.0.1:80",
        ":80",
        "localhost:",
    ] {
        refused(
            &format!("(allow network-outbound (remote tcp \"{endpoint}\"))"),
            1,
            &Reason::Endpoint(endpoint.to_owned()),
        );
    }
    for filter in [
        "(remote udp \"*:53\")",
        "(remote ip \"*:80\")",
        "(remote unix-socket (string-append \"/s\"))",
        "(subpath \"/s\")",
        "(local tcp \"*:80\")",
    ] {
        refused(
            &format!("(allow network-outbound {filter})"),
            1,
            &wider(filter),
        );
    }
    for filter in [
        "(local tcp \"*:80\")",
        "(local udp \"localhost:80\")",
        "(remote tcp \"localhost:80\")",
    ] {
        refused(
            &format!("(allow network-inbound {filter})"),
            1,
            &wider(filter),
        );
    }
    let bind = "(allow network-bind (local tcp \"localhost:80\"))";
    refused(bind, 1, &wider(bind));
    let accepts = |rules: &str| {
        let ruleset = evaluate(rules).expect("it evaluates");
        ruleset.accepts.map(|grant| grant.port)
    };
    let rule = "(allow network-inbound (local tcp \"localhost:80\"))";
    assert_eq!(accepts(rule), Some(80));
    assert_eq!(accepts(&format!("{rule}(deny network*)")), None);
    assert_eq!(accepts(&format!("{rule}(deny network-inbound)")), None);
    assert_eq!(accepts(&format!("(deny network*){rule}")), Some(80));
}

#[test]
fn what_linux_cannot_meet_is_refused_with_its_line() {
    for filter in [
        "(regex \"^/a\")",
        "(prefix \"/a\")",
        "(path-ancestors \"/a\")",
        "(vnode-type DIRECTORY)",
        "(subpath \"/a\" \"/b\")",
        "(subpath a)",
    ] {
        refused(
            &format!("\n\n(allow file-read* {filter})"),
            3,
            &wider(filter),
        );
    }
    refused(
        "(allow file-write-create (subpath \"/a\"))",
        1,
        &wider("(allow file-write-create (subpath \"/a\"))"),
    );
    refused(
        "(allow process-fork (target self))",
        1,
        &wider("(allow process-fork (target self))"),
    );
    refused(
        "(allow signal (target others))",
        1,
        &wider("(allow signal (target others))"),
    );
    refused(
        "(deny file-read* (subpath \"/a\"))",
        1,
        &wider("a denial of file-read*"),
    );
    refused(
        "(deny file-read-metadata (subpath \"/a\"))",
        1,
        &wider("a denial of file-read-metadata"),
    );
    refused("(deny signal)", 1, &wider("a denial of signal"));
}

#[test]
fn an_allowance_needs_a_filter() {
    for operation in [
        "file-read*",
        "file-write*",
        "process-exec*",
        "network-outbound",
        "network*",
        "mach-lookup",
        "signal",
    ] {
        refused(
            &format!("(allow {operation})"),
            1,
            &Reason::Unfiltered(operation.to_owned()),
        );
    }
    assert!(
        evaluate("(allow process-fork)")
            .expect("it evaluates")
            .forks
    );
}

#[test]
fn what_linux_does_not_have_grants_nothing() {
    let rules = "(allow mach-lookup (global-name \"com.apple.tccd\"))
        (allow appleevent-send (appleevent-destination \"com.apple.iCal\"))
        (allow sysctl-read (sysctl-name \"hw.ncpu\"))
        (allow ipc-posix-shm-read* (ipc-posix-name \"apple.shm.notification_center\"))
        (allow iokit-open (iokit-user-client-class \"X\"))
        (allow user-preference-read (preference-domain \"x\"))
        (allow file-read-metadata (path-ancestors \"/a\"))";
    assert_eq!(evaluate(rules), Ok(Ruleset::default()));
}

#[test]
fn denials_restate_the_default_or_take_back_all() {
    assert!(
        !evaluate("(allow process-fork)(deny process-fork)")
            .expect("it evaluates")
            .forks
    );
    assert!(
        evaluate("(deny process-fork)(allow process-fork)")
            .expect("it evaluates")
            .forks
    );
    let port = "(allow network-outbound (remote tcp \"*:80\"))";
    assert!(
        evaluate(&format!("{port}(deny network*)"))
            .expect("it evaluates")
            .connects
            .is_empty()
    );
    assert_eq!(
        evaluate(&format!("(deny network*){port}"))
            .expect("it evaluates")
            .connects
            .len(),
        1
    );
    let links = |rules: &str| evaluate(rules).expect("it evaluates").creates_links;
    assert!(links("(allow file-write* (subpath \"/a\"))"));
    assert!(!links(
        "(allow file-write* (subpath \"/a\"))(deny file-write-create (vnode-type SYMLINK))"
    ));
    assert!(links(
        "(deny file-write-create (vnode-type SYMLINK))(allow file-write* (subpath \"/a\"))"
    ));
    assert!(
        evaluate("(deny file-write* (subpath \"/b\"))(deny mach-lookup)(deny network-bind)")
            .is_ok()
    );
    for inside in ["/a", "/a/b", "/"] {
        refused(
            &format!(
                "(allow file-write* (subpath \"/a\"))\n(deny file-write* (subpath \"{inside}\"))"
            ),
            2,
            &Reason::Subtracts(3),
        );
    }
    assert!(
        evaluate("(allow file-write* (subpath \"/a\"))\n(deny file-write* (subpath \"/ab\"))")
            .is_ok()
    );
}

#[test]
fn paths_have_one_spelling() {
    for path in [
        "",
        "a",
        "relative/path",
        "//a",
        "/a/",
        "/a//b",
        "/a/.",
        "/a/../b",
        "~/a",
    ] {
        refused(
            &format!("(allow file-read* (subpath \"{path}\"))"),
            1,
            &Reason::Path(path.to_owned()),
        );
    }
    refused(
        "(allow file-read* (subpath (param \"BAD\")))",
        1,
        &Reason::Path("relative/path".to_owned()),
    );
    let parameters = Parameters::from([("ROOT".to_owned(), "/a\nb".to_owned())]);
    let profile = Profile::parse(&format!(
        "{HEADER}(allow file-read* (subpath (param \"ROOT\")))"
    ))
    .expect("it parses");
    assert_eq!(
        Ruleset::evaluate(&profile, &parameters)
            .expect_err("a control character")
            .reason,
        Reason::Path("/a\nb".to_owned())
    );
}

#[test]
fn only_the_grammar_parses() {
    for text in [
        "",
        "(version 2)(deny default)",
        "(version 1)",
        "(deny default)(version 1)",
        "(version 1)(allow default)",
        "(version 1)(deny default",
        "(version 1)(deny default))",
        "(version 1)(deny default)(deny default)",
        "(version 1)(deny default)(import \"other.sb\")",
        "(version 1)(deny default)(allow process-fork)(import \"bsd.sb\")",
        "(version 1)(deny default)(allow)",
        "(version 1)(deny default)(allow default)",
        "(version 1)(deny default)(allow file-read* default)",
        "(version 1)(deny default)(allow (subpath \"/a\"))",
        "(version 1)(deny default)(allow file-read* (subpath))",
        "(version 1)(deny default)(allow file-read* (subpath \"/a\") file-write*)",
        "(version 1)(deny default)(allow file-read* (require-not (subpath \"/a\")))",
        "(version 1)(deny default)(allow file-read* (regex #\"^/a\"))",
        "(version 1)(deny default)(if (param \"X\"))",
        "(version 1)(deny default)(if (param \"X\") (begin (allow process-fork)))",
        "(version 1)(deny default)(define x \"leaf\")",
        "(version 1)(deny default)(define plexus-system-calls \"all\")",
        "(version 1)(deny default)(debug deny)",
        "(version 1)(deny default)\"text\"",
        "(version 1)(deny default)(allow file-read* (subpath \"a\\n\"))",
        "(version 1)(deny default)(allow file-read* (subpath \"\u{e9}\"))",
        "(version 1)(deny default); \u{202e}\n",
        "(version 1)(deny default)'(allow)",
        "(version 1)(deny default)(allow file-read* (subpath \"/a\nb\"))",
        "(version 1)(deny default)(allow file-read* (subpath \"/a\") (with no-sandbox))x",
    ] {
        assert!(Profile::parse(text).is_err(), "{text}");
    }
    let deep = format!("{HEADER}{}{}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(matches!(
        Profile::parse(&deep).expect_err("too deep").reason,
        Reason::TooDeep { .. }
    ));
    let long = format!("{HEADER};{}", "x".repeat(70_000));
    assert!(matches!(
        Profile::parse(&long).expect_err("too long").reason,
        Reason::TooLarge { .. }
    ));
}

#[test]
fn residuals_are_named() {
    let ruleset = evaluate("(allow file-write* (subpath \"/a\"))").expect("it evaluates");
    let residuals = ruleset.residuals().join("\n");
    for words in ["metadata", "signals", "locked (flock)"] {
        assert!(residuals.contains(words), "{residuals}");
    }
    assert_eq!(Ruleset::default().residuals().len(), 2);
}

#[test]
fn the_flavour_of_system_calls_is_a_definition() {
    assert_eq!(
        evaluate("").expect("it evaluates").system_calls,
        SystemCalls::Leaf
    );
    assert_eq!(
        evaluate("(define plexus-system-calls \"agent\")")
            .expect("it evaluates")
            .system_calls,
        SystemCalls::Agent
    );
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z*-]{0,12}".prop_filter("not an operation", |word| word != "default")
}

fn text() -> impl Strategy<Value = Text> {
    let leaf = prop_oneof![
        "[ -~]{0,12}".prop_map(Text::Literal),
        "[ -~]{0,6}".prop_map(Text::Param)
    ];
    // Three levels of nesting fit into what the parser takes.
    leaf.prop_recursive(3, 8, 3, |inner| vec(inner, 1..3).prop_map(Text::Append))
}

fn rule() -> impl Strategy<Value = Rule> {
    let argument = prop_oneof![
        word().prop_map(Argument::Symbol),
        text().prop_map(Argument::Text)
    ];
    let filter =
        (word(), vec(argument, 1..3)).prop_map(|(name, arguments)| Filter { name, arguments });
    let action = prop_oneof![Just(Action::Allow), Just(Action::Deny)];
    (action, vec(word(), 1..4), vec(filter, 0..4)).prop_map(|(action, operations, filters)| Rule {
        action,
        operations,
        filters,
    })
}

fn what() -> impl Strategy<Value = Clause> {
    let condition = prop_oneof![
        (text(), text()).prop_map(|(left, right)| Condition::Equal(left, right)),
        "[ -~]{0,6}".prop_map(Condition::Given)
    ];
    prop_oneof![
        4 => rule().prop_map(Clause::Rule),
        2 => (condition, rule(), proptest::option::of(rule())).prop_map(|(when, then, otherwise)| Clause::If { when, then, otherwise }),
        1 => prop_oneof![Just(SystemCalls::Leaf), Just(SystemCalls::Agent)].prop_map(Clause::SystemCalls),
    ]
}

/// A profile as its own text would have it: one form a line.
fn profile() -> impl Strategy<Value = Profile> {
    (any::<bool>(), vec(what(), 0..8)).prop_map(|(import, forms)| {
        let first = if import { 4 } else { 3 };
        let forms = (first..)
            .zip(forms)
            .map(|(line, what)| Form { line, what })
            .collect();
        Profile {
            import: import.then_some(3),
            forms,
        }
    })
}

proptest! {
    #[test]
    fn a_profile_survives_being_written_and_read(profile in profile()) {
        let text = profile.to_string();
        prop_assert_eq!(Profile::parse(&text), Ok(profile), "{}", text);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(profile) = Profile::parse(&text) {
            prop_assert!(Profile::parse(&profile.to_string()).is_ok());
        }
    }

    /// Nearer to the grammar than bytes are.
    #[test]
    fn any_pile_of_words_is_parsed_or_refused(words in vec("[()\";\\\\ \n]|allow|deny|if|param|subpath|\"ROOT\"|string-append|file-read\\*", 0..60)) {
        let text = format!("{HEADER}{}", words.concat());
        if let Ok(profile) = Profile::parse(&text) {
            let written = Profile::parse(&profile.to_string()).expect("what was read can be written");
            prop_assert_eq!(written.forms.len(), profile.forms.len());
        }
    }

}
