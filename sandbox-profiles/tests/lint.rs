//! Each lint with what it is for: a profile that is well, and the one line that is not.

use plexus_sandbox::lint::{Fault, Finding, reason};
use plexus_sandbox::profile::Reason;

/// A profile without findings; the rules to be judged come after it.
const WELL: &str = "(version 1)
(deny default)
(import \"bsd.sb\")            ; what any program needs to start
(deny process-fork)           ; no file needs a child
(deny network*)               ; a folder is files only
";
/// Where the rules under test begin.
const FIRST: u32 = 6;

fn lint(profile: &str) -> Vec<Finding> {
    plexus_sandbox::lint::lint(profile, &["LIBRARY"])
}

fn findings(rules: &str) -> Vec<Finding> {
    lint(&format!("{WELL}{rules}\n"))
}

/// The one finding about `rules`, which begin on the first free line.
#[track_caller]
fn finds(rules: &str, fault: &Fault) {
    let found = findings(rules);
    let [
        Finding {
            line, fault: is, ..
        },
    ] = found.as_slice()
    else {
        panic!("{rules}: {found:#?}");
    };
    assert_eq!((*line, is), (FIRST, fault), "{rules}");
}

/// The same without its fault.
#[track_caller]
fn is_well(rules: &str) {
    assert_eq!(findings(rules), [], "{rules}");
}

#[test]
fn a_rule_says_why_on_its_line_or_alone_above() {
    let rule = "(allow file-read* (subpath (param \"ROOT\")))";
    is_well(&format!("{rule} ; notes are read"));
    is_well(&format!("; Notes are read from it.\n{rule}"));
    finds(rule, &Fault::NoReason);
    finds(&format!("{rule} ; needed"), &Fault::NoReason);
    // The reason of the line above is that line's own.
    let two = findings(&format!("{rule} ; notes are read\n{rule}"));
    assert_eq!((two.len(), two[0].line), (1, FIRST + 1));
}

#[test]
fn a_socket_is_the_one_that_the_manifest_names() {
    let rule = |socket: &str| {
        format!("(allow network-outbound (literal {socket})) ; the app listens there")
    };
    finds(&rule("\"/run/app.sock\""), &Fault::Socket);
    finds(
        &rule("(string-append (param \"SCRATCH\") \"/app.sock\")"),
        &Fault::Socket,
    );
    is_well(&rule("(param \"SOCKET\")"));
}

#[test]
fn a_reason_is_one_rules_and_is_not_looked_for_in_a_text() {
    let two = findings(
        "(allow file-read* (literal (param \"WORKER\")))(allow process-exec* (literal (param \"WORKER\"))) ; the loader maps it",
    );
    assert_eq!(two.len(), 1);
    assert_eq!(two[0].fault, Fault::NoReason);
    assert!(two[0].rule.contains("process-exec*"), "{two:?}");
    finds(
        "(allow file-read* (literal \"/opt/plexus;which is a name\"))",
        &Fault::NoReason,
    );
    let text = "(import \"bsd.sb\") ; to start at all\n; Two lines\n(deny network*)";
    assert_eq!(reason(text, 1), Some("to start at all"));
    assert_eq!(
        (reason(text, 3), reason(text, 9), reason(text, 0)),
        (None, None, None)
    );
}

#[test]
fn the_base_is_imported_and_what_it_gives_too_much_is_taken_back() {
    assert_eq!(lint(WELL), []);
    let without = |line: &str| {
        let kept = WELL.lines().filter(|kept| !kept.starts_with(line));
        lint(&kept.collect::<Vec<_>>().join("\n"))
    };
    let faults = |line: &str| {
        without(line)
            .into_iter()
            .map(|found| found.fault)
            .collect::<Vec<_>>()
    };
    assert_eq!(faults("(import"), [Fault::NoImport]);
    assert_eq!(
        faults("(deny process-fork"),
        [Fault::NotTakenBack("process-fork")]
    );
    assert_eq!(faults("(deny network*"), [Fault::NotTakenBack("network*")]);
    // Who wants it says so.
    let forks = WELL.replace("(deny process-fork)", "(allow process-fork)");
    assert_eq!(lint(&forks), []);
    let unsaid = WELL.replace("; what any program needs to start", "");
    assert_eq!(lint(&unsaid)[0].fault, Fault::NoReason);
    // Taken back in one role alone is not taken back.
    let sometimes = WELL.replace(
        "(deny network*) ",
        "(if (string=? (param \"ROLE\") \"reader\") (deny network*)) ",
    );
    assert_eq!(lint(&sometimes)[0].fault, Fault::NotTakenBack("network*"));
}

#[test]
fn nothing_is_written_but_behind_the_writers_switch() {
    let write = "(allow file-write* (subpath (param \"ROOT\")))";
    let switch =
        |role: &str| format!("(if (string=? (param \"ROLE\") \"{role}\") {write}) ; it commits");
    is_well(&switch("writer"));
    is_well(&format!(
        "(if (string=? \"writer\" (param \"ROLE\")) {write}) ; it commits"
    ));
    finds(&switch("reader"), &Fault::AlwaysWrites);
    finds(&format!("{write} ; it commits"), &Fault::AlwaysWrites);
    finds(
        &format!("(if (param \"ROOT\") {write}) ; it commits"),
        &Fault::AlwaysWrites,
    );
    let otherwise = format!(
        "(if (string=? (param \"ROLE\") \"writer\") (deny signal) {write}) ; the wrong way round"
    );
    assert!(
        findings(&otherwise)
            .iter()
            .any(|found| found.fault == Fault::AlwaysWrites)
    );
    assert_eq!(
        findings(&switch("Writer"))
            .iter()
            .map(|found| &found.fault)
            .collect::<Vec<_>>(),
        [
            &Fault::UnknownRole("Writer".to_owned()),
            &Fault::AlwaysWrites
        ]
    );
}

#[test]
fn no_tree_is_wider_than_a_folder_of_ones_own() {
    let read = |path: &str| format!("(allow file-read* (subpath \"{path}\")) ; it is read");
    is_well(&read("/usr/lib"));
    is_well(&read("/System/Library"));
    is_well("(allow file-read-data (literal \"/\")) ; the loader reads the root folder");
    for path in [
        "/",
        "/usr",
        "/opt",
        "/home",
        "/Users",
        "/private",
        "/private/var",
        "/usr/local",
    ] {
        finds(&read(path), &Fault::Wide(path.to_owned()));
    }
}

#[test]
fn paths_are_canonical_and_nobodys() {
    let read = |path: &str| format!("(allow file-read* (literal \"{path}\")) ; it is read");
    is_well(&read("/private/etc/hosts"));
    for path in [
        "/etc/hosts",
        "/var/db/timezone",
        "/tmp/x",
        "/System/Volumes/Data/x",
    ] {
        let (path, system) = (path.to_owned(), "macOS");
        finds(
            &read(&path),
            &Fault::Link {
                path: path.clone(),
                system,
            },
        );
    }
    is_well(&read("/etcetera/x"));
    for path in ["/home/me/notes", "/Users/me/notes"] {
        finds(&read(path), &Fault::Home(path.to_owned()));
    }
    for path in ["relative", "/a/", "/a//b", "/a/../b", "~/a"] {
        finds(&read(path), &Fault::Refused(Reason::Path(path.to_owned())));
    }
    // Also where Linux has no such operation and would not look.
    finds(
        "(allow file-map-executable (subpath \"/usr/lib/../bin\")) ; it is mapped",
        &Fault::Refused(Reason::Path("/usr/lib/../bin".to_owned())),
    );
}

#[test]
fn parameters_are_those_that_are_passed_and_are_filled_in() {
    let read = |text: &str| format!("(allow file-read* (subpath {text})) ; it is read");
    is_well(&read("(param \"SCRATCH\")"));
    is_well(&read("(string-append (param \"ROOT\") \"/.git\")"));
    finds(
        &read("(param \"HOME\")"),
        &Fault::UnknownParameter("HOME".to_owned()),
    );
    finds(
        "(if (param \"VAULT\") (deny signal (target others))) ; it is read",
        &Fault::UnknownParameter("VAULT".to_owned()),
    );
    // A path field of the manifest is passed.
    is_well(&read("(param \"LIBRARY\")"));
    for text in [
        "/srv/${ROOT}",
        "/srv/ROOT/x",
        "/srv/%WORKER%",
        "/srv/LIBRARY",
    ] {
        finds(
            &read(&format!("\"{text}\"")),
            &Fault::NotFilledIn(text.to_owned()),
        );
    }
    is_well(&read("\"/srv/ROOTS/x\""));
    // `/vault` and `-old` is the folder beside.
    finds(
        &read("(string-append (param \"ROOT\") \"-old\")"),
        &Fault::Beside("ROOT".to_owned()),
    );
    // So is what another parameter makes of it, and whatever an inner text ends or begins with.
    for text in [
        "(param \"ROOT\") (param \"ROLE\")",
        "(string-append \"\" (param \"ROOT\")) \"-old\"",
        "(param \"ROOT\") (string-append \"-old\" \"/x\")",
        "(string-append (string-append (param \"ROOT\"))) (string-append (param \"ROLE\"))",
        "(param \"ROOT\") \"\" \"-old\"",
    ] {
        finds(
            &read(&format!("(string-append {text})")),
            &Fault::Beside("ROOT".to_owned()),
        );
    }
    for text in [
        "(param \"ROOT\") \"/\" (param \"ROLE\")",
        "(string-append (param \"ROOT\") \"/a\") \"/b\"",
        "(param \"ROOT\") (string-append \"/a\" (param \"ROLE\"))",
    ] {
        is_well(&read(&format!("(string-append {text})")));
    }
}

#[test]
fn filters_are_those_that_apples_compiler_knows() {
    is_well("(allow mach-lookup (global-name \"com.apple.tccd\")) ; consent is asked for");
    for (rule, operation, filter) in [
        (
            "(allow mach-lookup (with no-report))",
            "mach-lookup",
            "with",
        ),
        (
            "(allow appleevent-send (global-name \"com.apple.iCal\"))",
            "appleevent-send",
            "global-name",
        ),
        (
            "(allow sysctl-read (sysctl-name-regex \"hw\"))",
            "sysctl-read",
            "sysctl-name-regex",
        ),
        (
            "(allow mach-lookup (xpc-service-name-prefix \"\"))",
            "mach-lookup",
            "xpc-service-name-prefix",
        ),
    ] {
        let fault = Fault::Filter {
            operation: operation.to_owned(),
            filter: filter.to_owned(),
        };
        finds(&format!("{rule} ; it is needed"), &fault);
    }
}

#[test]
fn a_denial_comes_after_what_it_narrows() {
    let write = "(if (string=? (param \"ROLE\") \"writer\") (allow file-write* (subpath (param \"ROOT\")))) ; it commits";
    let links = "(deny file-write-create (vnode-type SYMLINK)) ; a planted link is followed";
    is_well(&format!("{write}\n{links}"));
    finds(&format!("{links}\n{write}"), &Fault::Overruled(FIRST + 1));
    // To deny all and allow a part is how a part is said.
    is_well("(allow network-outbound (remote tcp \"localhost:27124\")) ; the app's own port");
    let both = findings("(allow process-fork) ; some children after all");
    assert_eq!((both.len(), &both[0].fault), (1, &Fault::Overruled(FIRST)));
}

#[test]
fn what_a_kernel_would_refuse_is_found_whatever_the_role() {
    for role in ["reader", "writer"] {
        let rule = format!(
            "(if (string=? (param \"ROLE\") \"{role}\") (allow file-read* (subpath (param \"ROOT\") (param \"SCRATCH\")))) ; it is read"
        );
        let found = findings(&rule);
        assert!(
            matches!(
                found.as_slice(),
                [Finding {
                    line: FIRST,
                    fault: Fault::Refused(Reason::Wider(_)),
                    ..
                }]
            ),
            "{found:?}"
        );
    }
    let unfiltered = findings("(allow file-read*) ; everything");
    assert_eq!(
        unfiltered[0].fault,
        Fault::Refused(Reason::Unfiltered("file-read*".to_owned()))
    );
    assert_eq!(
        lint("(version 1)(allow default)")[0].fault,
        Fault::Refused(Reason::Header)
    );
}
