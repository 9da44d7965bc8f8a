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
fn refused_at(line: u32, rules: &str, reason: &Reason) {
    let error = evaluate(rules).expect_err(rules);
    assert_eq!((error.line, &error.reason), (line + 2, reason), "{error}");
}

#[track_caller]
fn refused(rules: &str, reason: &Reason) {
    refused_at(1, rules, reason);
}

#[track_caller]
fn evaluated(rules: &str) -> Ruleset {
    evaluate(rules).unwrap_or_else(|error| panic!("{rules}: {error}"))
}

fn wider(what: &str) -> Reason {
    Reason::Wider(what.to_owned())
}

#[test]
fn grants_carry_their_rule() {
    let ruleset = evaluated(
        "; a comment\n(allow file-read* (subpath (param \"ROOT\"))\n  (literal \"/a b\"))",
    );
    let grants = ruleset.reads.iter();
    let grants: Vec<_> = grants
        .map(|grant| (grant.path.to_str(), grant.extent, grant.origin.line))
        .collect();
    let (root, file) = (Some("/root"), Some("/a b"));
    let expected = [(root, Extent::Subtree, 4), (file, Extent::Literal, 4)];
    assert_eq!(grants, expected);
    let rule = "(allow file-read* (subpath (param \"ROOT\")) (literal \"/a b\"))";
    assert_eq!(ruleset.reads[0].origin.rule, rule);
    assert_eq!((ruleset.writes, ruleset.base), (vec![], None));
}

#[test]
fn conditions_choose_rules() {
    let (a, b_and_c) = (
        "(allow file-read* (subpath \"/a\"))",
        "(allow file-read* (subpath \"/b\") (subpath \"/c\"))",
    );
    #[rustfmt::skip]
    let rows = [
        (format!("(if (string=? (param \"ROLE\") \"reader\") {a})"), 1),
        (format!("(if (string=? (param \"ROLE\") \"writer\") {a})"), 0),
        (format!("(if (param \"ROOT\") {a})"), 1),
        ("(if (param \"OTHER\") (allow file-read* (subpath (param \"OTHER\"))))".to_owned(), 0),
        (format!("(if (param \"OTHER\") {a} {b_and_c})"), 2),
    ];
    for (rules, reads) in rows {
        assert_eq!(evaluated(&rules).reads.len(), reads, "{rules}");
    }
    let missing = Reason::MissingParameter("OTHER".to_owned());
    refused(
        &format!("(if (string=? (param \"OTHER\") \"x\") {a})"),
        &missing,
    );
    // A rule that is off today must be sound all the same.
    let unknown = Reason::UnknownOperation("file-frobnicate".to_owned());
    refused(
        "(if (param \"OTHER\") (allow file-frobnicate (subpath \"/a\")))",
        &unknown,
    );
}

#[test]
fn ports_are_numbers_on_loopback_or_anywhere() {
    let ports = |filters: &str| {
        let ruleset = evaluated(&format!("(allow network-outbound {filters})"));
        let connects = ruleset.connects.iter();
        connects
            .map(|grant| (grant.host, grant.port))
            .collect::<Vec<_>>()
    };
    let both = ports("(remote tcp \"localhost:80\") (remote tcp \"*:443\")");
    assert_eq!(both, [(Host::Localhost, 80), (Host::Any, 443)]);
    let given = ports("(remote tcp (string-append \"localhost:\" (param \"PORT\")))");
    assert_eq!(given, [(Host::Localhost, 7077)]);
    for endpoint in [
        "localhost",
        "localhost:0",
        "localhost:*",
        "*:65536",
        "10.0.0.1:80",
        ":80",
        "localhost:",
    ] {
        let rule = format!("(allow network-outbound (remote tcp \"{endpoint}\"))");
        refused(&rule, &Reason::Endpoint(endpoint.to_owned()));
    }
    for (way, filter) in [
        ("outbound", "(remote udp \"*:53\")"),
        ("outbound", "(remote ip \"*:80\")"),
        ("outbound", "(remote unix-socket (string-append \"/s\"))"),
        ("outbound", "(subpath \"/s\")"),
        ("outbound", "(local tcp \"*:80\")"),
        ("inbound", "(local tcp \"*:80\")"),
        ("inbound", "(local udp \"localhost:80\")"),
        ("inbound", "(remote tcp \"localhost:80\")"),
    ] {
        refused(&format!("(allow network-{way} {filter})"), &wider(filter));
    }
    let bind = "(allow network-bind (local tcp \"localhost:80\"))";
    refused(bind, &wider(bind));
    let accepts = |rules: &str| evaluated(rules).accepts.map(|grant| grant.port);
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
        let rule = format!("\n\n(allow file-read* {filter})");
        refused_at(3, &rule, &wider(filter));
    }
    for rule in [
        "(allow file-write-create (subpath \"/a\"))",
        "(allow process-fork (target self))",
        "(allow signal (target others))",
    ] {
        refused(rule, &wider(rule));
    }
    for (rule, operation) in [
        ("(deny file-read* (subpath \"/a\"))", "file-read*"),
        (
            "(deny file-read-metadata (subpath \"/a\"))",
            "file-read-metadata",
        ),
        ("(deny signal)", "signal"),
    ] {
        refused(rule, &wider(&format!("a denial of {operation}")));
    }
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
        let unfiltered = Reason::Unfiltered(operation.to_owned());
        refused(&format!("(allow {operation})"), &unfiltered);
    }
    assert!(evaluated("(allow process-fork)").forks);
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
    let (allow, deny) = ("(allow process-fork)", "(deny process-fork)");
    assert!(!evaluated(&format!("{allow}{deny}")).forks);
    assert!(evaluated(&format!("{deny}{allow}")).forks);
    let port = "(allow network-outbound (remote tcp \"*:80\"))";
    let connects = |rules: &str| evaluated(rules).connects.len();
    assert_eq!(connects(&format!("{port}(deny network*)")), 0);
    assert_eq!(connects(&format!("(deny network*){port}")), 1);
    // As macOS needs it said: every address, every socket.
    let addresses = "(deny network-outbound (remote ip \"*:*\"))";
    assert_eq!(connects(&format!("{port}{addresses}")), 0);
    assert_eq!(connects(&format!("{addresses}{port}")), 1);
    let socket = "(allow network-outbound (literal \"/a.sock\"))";
    let sockets = "(deny network-outbound (subpath \"/\"))";
    let left = |text: &str| evaluated(text).sockets.len();
    assert_eq!(left(&format!("{socket}{addresses}")), 1);
    assert_eq!(left(&format!("{socket}{addresses}{sockets}")), 0);
    assert_eq!(left(&format!("{addresses}{sockets}{socket}")), 1);
    let links = |rules: &str| evaluated(rules).creates_links;
    let write = "(allow file-write* (subpath \"/a\"))";
    let plain = "(deny file-write-create (vnode-type SYMLINK))";
    assert!(links(write));
    assert!(!links(&format!("{write}{plain}")));
    assert!(links(&format!("{plain}{write}")));
    evaluated("(deny file-write* (subpath \"/b\"))(deny mach-lookup)(deny network-bind)");
    let denied = |path: &str| format!("{write}\n(deny file-write* (subpath \"{path}\"))");
    for inside in ["/a", "/a/b", "/"] {
        refused_at(2, &denied(inside), &Reason::Subtracts(3));
    }
    evaluated(&denied("/ab"));
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
        let rule = format!("(allow file-read* (subpath \"{path}\"))");
        refused(&rule, &Reason::Path(path.to_owned()));
    }
    let bad = Reason::Path("relative/path".to_owned());
    refused("(allow file-read* (subpath (param \"BAD\")))", &bad);
    let parameters = Parameters::from([("ROOT".to_owned(), "/a\nb".to_owned())]);
    let text = format!("{HEADER}(allow file-read* (subpath (param \"ROOT\")))");
    let profile = Profile::parse(&text).expect("it parses");
    let error = Ruleset::evaluate(&profile, &parameters).expect_err("a control character");
    assert_eq!(error.reason, Reason::Path("/a\nb".to_owned()));
}

#[test]
fn only_the_grammar_parses() {
    for text in [
        "",
        "(version 2)(deny default)",
        "(version 1)",
        "(deny default)(version 1)",
        "(version 1)(allow default)",
    ] {
        assert_eq!(Profile::parse(text).expect_err(text).reason, Reason::Header);
    }
    let (partner, place) = ("has no partner", "has no place here");
    let (form, rule) = ("expected a rule, (if", "expected (allow | deny");
    let (import, filter) = ("expected (import", "expected (filter word-or-text");
    for (rest, words) in [
        ("(allow", partner),
        (")", partner),
        ("(deny default)", rule),
        ("(import \"other.sb\")", import),
        ("(allow process-fork)(import \"bsd.sb\")", form),
        ("(allow)", rule),
        ("(allow default)", rule),
        ("(allow file-read* default)", rule),
        ("(allow (subpath \"/a\"))", rule),
        ("(allow file-read* (subpath))", filter),
        ("(allow file-read* (subpath \"/a\") file-write*)", filter),
        (
            "(allow file-read* (require-not (subpath \"/a\")))",
            "expected \"text\"",
        ),
        ("(allow file-read* (regex #\"^/a\"))", place),
        ("(if (param \"X\"))", form),
        ("(if (param \"X\") (begin (allow process-fork)))", rule),
        ("(define x \"leaf\")", form),
        ("(define plexus-system-calls \"all\")", form),
        ("(debug deny)", form),
        ("\"text\"", form),
        ("(allow file-read* (subpath \"a\\n\"))", place),
        ("(allow file-read* (subpath \"\u{e9}\"))", place),
        ("; \u{202e}\n", place),
        ("'(allow)", place),
        ("(allow file-read* (subpath \"/a\nb\"))", place),
        ("(allow file-read* (subpath \"/a\"))x", form),
    ] {
        let text = format!("{HEADER}{rest}");
        let reason = Profile::parse(&text).expect_err(rest).reason.to_string();
        assert!(reason.contains(words), "{rest}: {reason}");
    }
    let deep = format!("{HEADER}{}{}", "(".repeat(10_000), ")".repeat(10_000));
    let deep = Profile::parse(&deep).expect_err("too deep").reason;
    assert!(matches!(deep, Reason::TooDeep { .. }), "{deep:?}");
    let long = format!("{HEADER};{}", "x".repeat(70_000));
    let long = Profile::parse(&long).expect_err("too long").reason;
    assert!(matches!(long, Reason::TooLarge { .. }), "{long:?}");
}

#[test]
fn residuals_are_named() {
    let ruleset = evaluated("(allow file-write* (subpath \"/a\"))");
    let residuals = ruleset.residuals().join("\n");
    for words in ["metadata", "signals", "locked (flock)"] {
        assert!(residuals.contains(words), "{residuals}");
    }
    assert_eq!(Ruleset::default().residuals().len(), 2);
}

#[test]
fn the_flavour_of_system_calls_is_a_definition() {
    assert_eq!(evaluated("").system_calls, SystemCalls::Leaf);
    let agent = evaluated("(define plexus-system-calls \"agent\")");
    assert_eq!(agent.system_calls, SystemCalls::Agent);
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
