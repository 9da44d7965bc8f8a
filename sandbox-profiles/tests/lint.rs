//! Each lint with what it is for: a profile that is well, and the one line that is not.

use plexus_sandbox::lint::{Fault, Finding, reason};
use plexus_sandbox::profile::Reason;

/// A profile without findings; the rules to be judged come after it.
const WELL: &str = "(version 1)
(deny default)
(import \"bsd.sb\")            ; what any program needs to start
(deny process-fork)           ; no file needs a child
(deny network-outbound (remote ip \"*:*\") (subpath \"/\")) ; a folder is files only
";
const NETWORK: &str = "(deny network-outbound (remote ip \"*:*\") (subpath \"/\"))";
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
    let [found] = found.as_slice() else {
        panic!("{rules}: {found:#?}");
    };
    assert_eq!((found.line, &found.fault), (FIRST, fault), "{rules}");
}

fn faults(found: Vec<Finding>) -> Vec<Fault> {
    found.into_iter().map(|found| found.fault).collect()
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
    let made = rule("(string-append (param \"SCRATCH\") \"/app.sock\")");
    finds(&made, &Fault::Socket);
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
    let named = "(allow file-read* (literal \"/opt/plexus;which is a name\"))";
    finds(named, &Fault::NoReason);
    let text = "(import \"bsd.sb\") ; to start at all\n; Two lines\n(deny process-fork)";
    assert_eq!(reason(text, 1), Some("to start at all"));
    assert_eq!([3, 9, 0].map(|line| reason(text, line)), [None; 3]);
}

#[test]
fn the_base_is_imported_and_what_it_gives_too_much_is_taken_back() {
    assert_eq!(lint(WELL), []);
    let without = |line: &str| {
        let kept = WELL.lines().filter(|kept| !kept.starts_with(line));
        lint(&kept.collect::<Vec<_>>().join("\n"))
    };
    for (line, fault) in [
        ("(import", Fault::NoImport),
        ("(deny process-fork", Fault::NotTakenBack("process-fork")),
        (
            "(deny network-outbound",
            Fault::NotTakenBack("network-outbound"),
        ),
    ] {
        assert_eq!(faults(without(line)), [fault]);
    }
    // Who wants it says so.
    let forks = WELL.replace("(deny process-fork)", "(allow process-fork)");
    assert_eq!(lint(&forks), []);
    let unsaid = WELL.replace("; what any program needs to start", "");
    assert_eq!(lint(&unsaid)[0].fault, Fault::NoReason);
    // Taken back in one role alone is not taken back.
    let reader = format!("(if (string=? (param \"ROLE\") \"reader\") {NETWORK}) ");
    let sometimes = WELL.replace(NETWORK, &reader);
    let lost = Fault::NotTakenBack("network-outbound");
    assert_eq!(lint(&sometimes)[0].fault, lost);
    // The half of it is not the whole.
    for half in [" (remote ip \"*:*\")", " (subpath \"/\")"] {
        let without = WELL.replace(NETWORK, &NETWORK.replace(half, ""));
        assert_eq!(lint(&without)[0].fault, lost, "without{half}");
    }
}

/// On macOS such a denial leaves what `bsd.sb` or another rule allows with a filter.
#[test]
fn bare_denial_after_an_import_is_found() {
    let bare = |operation: &str| Fault::BareDenial(operation.to_owned());
    let replaced = WELL.replace(NETWORK, "(deny network*)");
    assert_eq!(
        faults(lint(&replaced)),
        [Fault::NotTakenBack("network-outbound"), bare("network*")]
    );
    let both = "(deny file-write-setugid file-write-xattr) ; no set-id bits";
    assert_eq!(
        faults(findings(both)),
        ["file-write-setugid", "file-write-xattr"].map(bare)
    );
    finds(
        "(if (param \"ROOT\") (deny mach-lookup)) ; nobody is asked",
        &bare("mach-lookup"),
    );
    is_well("(deny file-write-setugid file-write-xattr (subpath \"/\")) ; no set-id bits");
    // Apple's language has no filter for these.
    is_well("(deny process-fork lsopen) ; no child and no app");
}

#[test]
fn nothing_is_written_but_behind_the_writers_switch() {
    let write = "(allow file-write* (subpath (param \"ROOT\")))";
    let switch =
        |role: &str| format!("(if (string=? (param \"ROLE\") \"{role}\") {write}) ; it commits");
    is_well(&switch("writer"));
    let turned = format!("(if (string=? \"writer\" (param \"ROLE\")) {write}) ; it commits");
    is_well(&turned);
    for rule in [
        switch("reader"),
        format!("{write} ; it commits"),
        format!("(if (param \"ROOT\") {write}) ; it commits"),
    ] {
        finds(&rule, &Fault::AlwaysWrites);
    }
    let otherwise = format!(
        "(if (string=? (param \"ROLE\") \"writer\") (deny signal) {write}) ; the wrong way round"
    );
    assert!(faults(findings(&otherwise)).contains(&Fault::AlwaysWrites));
    let unknown = Fault::UnknownRole("Writer".to_owned());
    assert_eq!(
        faults(findings(&switch("Writer"))),
        [unknown, Fault::AlwaysWrites]
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
        let fault = Fault::Link {
            path: path.to_owned(),
            system: "macOS",
        };
        finds(&read(path), &fault);
    }
    is_well(&read("/etcetera/x"));
    for path in ["/home/me/notes", "/Users/me/notes"] {
        finds(&read(path), &Fault::Home(path.to_owned()));
    }
    for path in ["relative", "/a/", "/a//b", "/a/../b", "~/a"] {
        finds(&read(path), &Fault::Refused(Reason::Path(path.to_owned())));
    }
    // Also where Linux has no such operation and would not look.
    let above = Reason::Path("/usr/lib/../bin".to_owned());
    let rule = "(allow file-map-executable (subpath \"/usr/lib/../bin\")) ; it is mapped";
    finds(rule, &Fault::Refused(above));
}

#[test]
fn parameters_are_those_that_are_passed_and_are_filled_in() {
    let read = |text: &str| format!("(allow file-read* (subpath {text})) ; it is read");
    is_well(&read("(param \"SCRATCH\")"));
    is_well(&read("(string-append (param \"ROOT\") \"/.git\")"));
    let unknown = |name: &str| Fault::UnknownParameter(name.to_owned());
    finds(&read("(param \"HOME\")"), &unknown("HOME"));
    let asked = "(if (param \"VAULT\") (deny signal (target others))) ; it is read";
    finds(asked, &unknown("VAULT"));
    // A path field of the manifest is passed.
    is_well(&read("(param \"LIBRARY\")"));
    for text in [
        "/srv/${ROOT}",
        "/srv/ROOT/x",
        "/srv/%WORKER%",
        "/srv/LIBRARY",
    ] {
        let fault = Fault::NotFilledIn(text.to_owned());
        finds(&read(&format!("\"{text}\"")), &fault);
    }
    is_well(&read("\"/srv/ROOTS/x\""));
    // `/vault` and `-old` is the folder beside. So is what another parameter makes of it, and whatever an inner text ends or
    // begins with.
    for text in [
        "(param \"ROOT\") \"-old\"",
        "(param \"ROOT\") (param \"ROLE\")",
        "(string-append \"\" (param \"ROOT\")) \"-old\"",
        "(param \"ROOT\") (string-append \"-old\" \"/x\")",
        "(string-append (string-append (param \"ROOT\"))) (string-append (param \"ROLE\"))",
        "(param \"ROOT\") \"\" \"-old\"",
    ] {
        let joined = read(&format!("(string-append {text})"));
        finds(&joined, &Fault::Beside("ROOT".to_owned()));
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
    for (operation, filter, argument) in [
        ("mach-lookup", "with", "no-report"),
        ("appleevent-send", "global-name", "\"com.apple.iCal\""),
        ("sysctl-read", "sysctl-name-regex", "\"hw\""),
        ("mach-lookup", "xpc-service-name-prefix", "\"\""),
    ] {
        let fault = Fault::Filter {
            operation: operation.to_owned(),
            filter: filter.to_owned(),
        };
        let rule = format!("(allow {operation} ({filter} {argument})) ; it is needed");
        finds(&rule, &fault);
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
    let part =
        "(deny network-outbound (remote ip \"*:*\") (literal \"/a\")) ; all but the port below";
    let port = "(allow network-outbound (remote tcp \"localhost:27124\")) ; the app's own port";
    let of_part = findings(&format!("{part}\n{port}"));
    assert!(faults(of_part).contains(&Fault::Overruled(FIRST + 1)));
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
        let [found] = found.as_slice() else {
            panic!("{found:?}")
        };
        let is_wider = matches!(found.fault, Fault::Refused(Reason::Wider(_)));
        assert!(found.line == FIRST && is_wider, "{found:?}");
    }
    let unfiltered = findings("(allow file-read*) ; everything");
    let reason = Reason::Unfiltered("file-read*".to_owned());
    assert_eq!(unfiltered[0].fault, Fault::Refused(reason));
    let open = lint("(version 1)(allow default)");
    assert_eq!(open[0].fault, Fault::Refused(Reason::Header));
}
