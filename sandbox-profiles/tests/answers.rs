//! What Seatbelt answers: the rules of evaluation one by one, and a table of about 300 operations under every profile.
//!
//! `PLEXUS_UPDATE_GOLDENS=1` writes the table as it was seen; the difference is then reviewed like any other change.

use std::fmt::Write as _;
use std::path::Path;

use plexus_sandbox::probe::{PROOF, with_proof};
use plexus_sandbox::profile::Profile;
use plexus_sandbox::ruleset::Parameters;
use plexus_sandbox::seatbelt::{
    Address, Answer, Decider, Endpoint, Evidence, Kind, Operation, Place, Receiver, Seatbelt,
};

use crate::goldens::{cases, hold};

/// Where the table is kept.
pub(crate) const TABLE: &str = "answers.txt";

fn seatbelt(rules: &str) -> Seatbelt {
    let text = format!("(version 1)\n(deny default)\n{rules}");
    let profile = Profile::parse(&text).expect("it parses");
    Seatbelt::new(&profile, &Parameters::new()).expect("it is understood")
}

fn ask(rules: &str, operation: &Operation) -> Answer {
    seatbelt(rules).ask(operation)
}

fn read(path: &str) -> Operation {
    Operation::Read(Place::file(path))
}

fn tcp(address: Address, port: u16) -> Operation {
    Operation::Connect(Endpoint::Tcp(address, port))
}

fn socket(path: &str) -> Operation {
    Operation::Connect(Endpoint::Socket(path.to_owned()))
}

/// The line that decides, with what is measured.
fn allowed(line: u32) -> Answer {
    Answer::Allowed(Decider::Rule(line), Evidence::Measured)
}

fn denied(line: u32) -> Answer {
    Answer::Denied(Decider::Rule(line), Evidence::Measured)
}

const BY_DEFAULT: Answer = Answer::Denied(Decider::Default, Evidence::Measured);

#[test]
fn later_of_two_filtered_rules_wins() {
    let allow = "(allow file-read* (subpath \"/a\"))";
    let deny = "(deny file-read* (literal \"/a/b\"))";
    assert_eq!(ask(&format!("{allow}\n{deny}"), &read("/a/b")), denied(4));
    assert_eq!(ask(&format!("{deny}\n{allow}"), &read("/a/b")), allowed(4));
    assert_eq!(ask(&format!("{allow}\n{deny}"), &read("/a/c")), allowed(3));
}

#[test]
fn bare_rule_overrides_no_filtered_one_in_either_order() {
    let allow = "(allow file-read* (subpath \"/a\"))";
    let bare = "(deny file-read*)";
    assert_eq!(ask(&format!("{allow}\n{bare}"), &read("/a/b")), allowed(3));
    assert_eq!(ask(&format!("{bare}\n{allow}"), &read("/a/b")), allowed(4));
    assert_eq!(ask(&format!("{allow}\n{bare}"), &read("/c")), denied(4));
    // Of two bare ones the later.
    let forks = "(allow process-fork)\n(deny process-fork)";
    assert_eq!(ask(forks, &Operation::Fork), denied(4));
}

#[test]
fn more_exact_operation_is_asked_first() {
    let wide = "(allow file-read* (subpath \"/a\"))";
    let exact = "(deny file-read-data (subpath \"/a/b\"))";
    for rules in [format!("{wide}\n{exact}"), format!("{exact}\n{wide}")] {
        assert!(!ask(&rules, &read("/a/b/c")).allows(), "{rules}");
        assert!(ask(&rules, &read("/a/c")).allows(), "{rules}");
        let stat = Operation::ReadMetadata(Place::file("/a/b/c"));
        assert!(ask(&rules, &stat).allows(), "{rules}");
    }
    // A bare rule of the exact spelling before a filtered one of the wider: nobody has said.
    let write = "(allow file-write* (subpath \"/a\"))\n(deny file-write-xattr)";
    let attribute = Operation::SetAttribute(Place::file("/a/b"));
    assert_eq!(
        ask(write, &attribute),
        Answer::Denied(Decider::Rule(4), Evidence::Assumed)
    );
    let named = "(allow file-write* (subpath \"/a\"))\n(deny file-write-xattr (subpath \"/\"))";
    assert_eq!(ask(named, &attribute), denied(4));
}

/// The mistake that every profile had.
#[test]
fn base_is_taken_back_by_a_denial_with_filters_alone() {
    let log = socket("/private/var/run/syslog");
    let by_base = |answer| matches!(answer, Answer::Allowed(Decider::Base(_), _));
    assert!(by_base(ask("(import \"bsd.sb\")", &log)));
    assert!(by_base(ask("(import \"bsd.sb\")\n(deny network*)", &log)));
    let all = "(import \"bsd.sb\")\n(deny network-outbound (remote ip \"*:*\") (subpath \"/\"))";
    assert_eq!(ask(all, &log), denied(4));
    let app = format!("{all}\n(allow network-outbound (literal \"/app.sock\"))");
    assert_eq!(ask(&app, &socket("/app.sock")), allowed(5));
    assert_eq!(ask(&app, &socket("/app.sock2")), denied(4));
    // Both bare: the later.
    assert!(by_base(ask("(import \"bsd.sb\")", &Operation::Fork)));
    let fork = "(import \"bsd.sb\")\n(deny process-fork)";
    assert_eq!(ask(fork, &Operation::Fork), denied(4));
    assert_eq!(ask("", &Operation::Fork), BY_DEFAULT);
}

#[test]
fn ports_are_those_of_the_host_and_the_protocol() {
    let rules = "(allow network-outbound (remote tcp \"localhost:80\"))\n(allow network-outbound (remote tcp \"*:53\"))";
    assert_eq!(ask(rules, &tcp(Address::Loopback, 80)), allowed(3));
    assert_eq!(ask(rules, &tcp(Address::Elsewhere, 53)), allowed(4));
    assert_eq!(ask(rules, &tcp(Address::Loopback, 53)), allowed(4));
    for denied in [
        tcp(Address::Loopback, 81),
        tcp(Address::Elsewhere, 80),
        tcp(Address::MappedLoopback, 80),
        Operation::Connect(Endpoint::Udp(Address::Loopback, 80)),
        socket("/localhost:80"),
        Operation::Bind(Endpoint::Tcp(Address::Loopback, 80)),
    ] {
        assert_eq!(ask(rules, &denied), BY_DEFAULT, "{denied:?}");
    }
    let own = ask(rules, &tcp(Address::OwnHost, 80));
    assert_eq!(own, Answer::Allowed(Decider::Rule(3), Evidence::Assumed));
    // A connection has a local end, whatever its peer.
    let local = "(allow network-outbound (local ip \"localhost:*\"))";
    assert!(ask(local, &tcp(Address::Elsewhere, 443)).allows());
}

#[test]
fn filters_match_what_they_name() {
    let link = |path: &str| Operation::Create(Place::link(path));
    let links =
        "(allow file-write* (subpath \"/a\"))\n(deny file-write-create (vnode-type SYMLINK))";
    assert_eq!(ask(links, &link("/a/b")), denied(4));
    assert_eq!(
        ask(links, &Operation::Create(Place::file("/a/b"))),
        allowed(3)
    );
    let tree = "(allow file-read* (subpath \"/a/b\"))";
    for (path, reads) in [
        ("/a/b", true),
        ("/a/b/c", true),
        ("/a/bc", false),
        ("/a", false),
    ] {
        assert_eq!(ask(tree, &read(path)).allows(), reads, "{path}");
    }
    let above = "(allow file-read-metadata (path-ancestors \"/a/b\"))";
    for (path, known) in [("/", true), ("/a", true), ("/a/b", false), ("/ab", false)] {
        let stat = Operation::ReadMetadata(Place::folder(path));
        assert_eq!(ask(above, &stat).allows(), known, "{path}");
    }
    let signal = |target: &str, receiver| {
        let rule = format!("(allow signal (target {target}))");
        ask(&rule, &Operation::Signal(receiver)).allows()
    };
    assert!(signal("same-sandbox", Receiver::SameSandbox));
    assert!(signal("same-sandbox", Receiver::Itself));
    assert!(!signal("same-sandbox", Receiver::Other));
    assert!(!signal("self", Receiver::SameSandbox));
    let service = "(allow mach-lookup (global-name \"com.apple.tccd\"))";
    let look_up = |name: &str| Operation::LookUp(name.to_owned());
    assert_eq!(ask(service, &look_up("com.apple.tccd")), allowed(3));
    assert_eq!(ask(service, &look_up("com.apple.tccd.system")), BY_DEFAULT);
    // A name is a name of its own operation alone.
    let event = Operation::SendEvent("com.apple.tccd".to_owned());
    assert_eq!(ask(service, &event), BY_DEFAULT);
}

#[test]
fn filter_that_is_not_understood_is_an_error() {
    for rule in [
        "(allow file-read* (extension \"x\"))",
        "(allow file-read* (vnode-type TTY))",
        "(allow signal (target pgrp))",
        "(allow network-outbound (remote tcp \"10.0.0.1:80\"))",
        "(allow network-outbound (remote tcp \"localhost:80-90\"))",
    ] {
        let text = format!("(version 1)\n(deny default)\n{rule}");
        let profile = Profile::parse(&text).expect("it parses");
        let refused = Seatbelt::new(&profile, &Parameters::new()).expect_err(rule);
        assert_eq!(refused.line, 3, "{rule}: {refused}");
    }
}

/// A profile of the table.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) is_run: bool,
    pub(crate) text: String,
    pub(crate) seatbelt: Seatbelt,
    pub(crate) parameters: Parameters,
}

impl Column {
    /// The parameter, or where it would be if this profile had one.
    fn value(&self, key: &str) -> String {
        let usual = match key {
            "WORKER" => "/opt/plexus/libexec/plexus/plexus-worker-x",
            "PROGRAM" => "/opt/agents/bin/program",
            "ROOT" => "/Users/me/work",
            "SCRATCH" => "/Users/me/.plexus/workers/x",
            "TOOLS_0" => "/opt/homebrew",
            "SHARE_0" => "/Users/me/shared/node_modules",
            "CALLS" => "/Users/me/.plexus/runs/1/host/calls",
            "ANSWERS" => "/Users/me/.plexus/runs/1/host/answers",
            "SOCKET" => "/Users/me/Library/Player/player.sock",
            "DATABASE" => "/Users/me/Library/Group Containers/Things",
            "EGRESS_PORT" => "7704",
            "PORT" => "7705",
            other => panic!("{other}"),
        };
        let given = self.parameters.get(key).map(String::as_str);
        given.unwrap_or(usual).to_owned()
    }

    /// `$ROOT/a` with the folder filled in.
    fn path(&self, said: &str) -> String {
        let Some(rest) = said.strip_prefix('$') else {
            return said.to_owned();
        };
        // A key has no small letter; what follows it is as it stands.
        let is_key = |letter: char| letter.is_ascii_uppercase() || "_0".contains(letter);
        let end = rest.find(|letter| !is_key(letter)).unwrap_or(rest.len());
        let (key, below) = rest.split_at(end);
        self.value(key) + below
    }

    fn port(&self, said: &str) -> u16 {
        let number = said
            .strip_prefix('$')
            .map_or(said.to_owned(), |key| self.value(key));
        number.parse().expect("a port")
    }
}

pub(crate) fn columns() -> Vec<Column> {
    let mut columns: Vec<Column> = cases()
        .into_iter()
        .map(|case| Column {
            name: format!("{} {}", case.name, case.role),
            is_run: false,
            seatbelt: understood(&case.text, &case.parameters),
            text: case.text,
            parameters: case.parameters,
        })
        .collect();
    for run in ["claude", "codex", "command", "mcp"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("children/{run}.sb"));
        let text = std::fs::read_to_string(path).expect("its text");
        let asked = Profile::parse(&text).expect("it parses");
        let mut column = Column {
            name: format!("children/{run}"),
            is_run: true,
            text: text.clone(),
            seatbelt: seatbelt(""),
            parameters: Parameters::new(),
        };
        for key in asked.parameters() {
            // Of four folders one is given.
            if !key.ends_with(['1', '2', '3']) {
                column.parameters.insert(key.to_owned(), column.value(key));
            }
        }
        column.seatbelt = understood(&text, &column.parameters);
        columns.push(column);
    }
    columns
}

pub(crate) fn understood(text: &str, parameters: &Parameters) -> Seatbelt {
    let profile = Profile::parse(text).expect("it parses");
    Seatbelt::new(&profile, parameters).expect("it is understood")
}

/// Places of a Mac, `$` for a parameter.
const PLACES: &[&str] = &[
    "$WORKER",
    "$PROGRAM",
    "$PROGRAM-code-mode-host",
    "$ROOT/a.md",
    "$ROOT/.git/config",
    "$ROOT-beside/a.md",
    "$SCRATCH/kept",
    "$SCRATCH-beside/kept",
    "$TOOLS_0/bin/git",
    "$SHARE_0/x/index.js",
    "$CALLS",
    "$ANSWERS",
    "$DATABASE/main.sqlite",
    "/Users/me/Documents/letter.txt",
    "/Users/me/.ssh/id_ed25519",
    "/Users/me/.plexus/ledger",
    "/Users/me/Library/Keychains/login.keychain-db",
    "/Users/me/Library/LaunchAgents/a.plist",
    "/Applications/Things3.app/Contents/MacOS/Things3",
    "/Applications/Xcode.app/Contents/Developer/usr/bin/git",
    "/Library/Developer/CommandLineTools/usr/bin/git",
    "/Library/Application Support/ClaudeCode/managed-settings.json",
    "/System/Library/Frameworks/Foundation.framework/Foundation",
    "/bin/zsh",
    "/usr/bin/git",
    "/usr/bin/osascript",
    "/usr/bin/open",
    "/usr/lib/libSystem.B.dylib",
    "/usr/libexec/path_helper",
    "/usr/sbin/sysctl",
    "/usr/share/zoneinfo/UTC",
    "/usr/local/bin/node",
    "/opt/homebrew/Cellar/node/24/bin/node",
    "/opt/homebrew/var/postgres/data",
    "/private/etc/passwd",
    "/private/etc/ssl/cert.pem",
    "/private/etc/zprofile",
    "/private/tmp/a",
    "/private/var/folders/aa/bb/T/a",
    "/private/var/select/developer_dir",
    "/dev/null",
    "/dev/ttys001",
    "/cores/core.1",
];
/// What is done to each.
type OfPlace = fn(Place) -> Operation;
const OF_PLACES: &[(&str, OfPlace)] = &[
    ("read", Operation::Read),
    ("write", Operation::Write),
    ("create", Operation::Create),
    ("remove", Operation::Remove),
    ("execute", Operation::Execute),
    ("map code", Operation::MapCode),
];
/// What is done to a few.
#[rustfmt::skip]
const OF_SOME: &[(&str, OfPlace, &[&str])] = &[
    ("metadata", Operation::ReadMetadata, &["$ROOT/a.md", "/Users/me/.ssh/id_ed25519"]),
    ("mode", Operation::SetMode, &["$ROOT/a.md", "$SCRATCH/kept"]),
    ("set-id", Operation::SetId, &["$ROOT/a.md", "$SCRATCH/kept"]),
    ("attribute", Operation::SetAttribute, &["$ROOT/a.md", "$SCRATCH/kept"]),
    ("control", Operation::Control, &["/dev/ttys001", "/dev/disk0"]),
];
const SERVICES: &[&str] = &[
    "com.apple.CalendarAgent",
    "com.apple.CoreServices.coreservicesd",
    "com.apple.FSEvents",
    "com.apple.SecurityServer",
    "com.apple.SystemConfiguration.DNSConfiguration",
    "com.apple.SystemConfiguration.configd",
    "com.apple.accountsd.accountmanager",
    "com.apple.bsd.dirhelper",
    "com.apple.calaccessd",
    "com.apple.cfprefsd.agent",
    "com.apple.coreservices.appleevents",
    "com.apple.coreservices.launchservicesd",
    "com.apple.dnssd.service",
    "com.apple.lsd.mapdb",
    "com.apple.lsd.open",
    "com.apple.pasteboard.1",
    "com.apple.remindd",
    "com.apple.securityd.xpc",
    "com.apple.system.notification_center",
    "com.apple.system.opendirectoryd.libinfo",
    "com.apple.system.opendirectoryd.membership",
    "com.apple.tccd",
    "com.apple.trustd.agent",
    "com.apple.windowserver.active",
];

/// All that a column is asked, with the label of each.
pub(crate) fn asked(column: &Column) -> Vec<(String, Operation)> {
    let mut all = Vec::new();
    let mut ask = |label: String, operation| all.push((label, operation));
    for (what, of) in OF_PLACES {
        for said in PLACES {
            ask(
                format!("{what} {said}"),
                of(Place::file(&column.path(said))),
            );
        }
    }
    for (what, of, places) in OF_SOME {
        for said in *places {
            ask(
                format!("{what} {said}"),
                of(Place::file(&column.path(said))),
            );
        }
    }
    for folder in ["/", "$ROOT", "$SCRATCH", "/Users/me", "/usr/bin"] {
        let place = Place::folder(&column.path(folder));
        ask(format!("list {folder}"), Operation::Read(place));
    }
    for said in ["$ROOT/link", "$SCRATCH/link", "/private/tmp/link"] {
        let place = Place::link(&column.path(said));
        ask(format!("link {said}"), Operation::Create(place));
    }
    for (name, address, port) in [
        ("loopback", Address::Loopback, "$EGRESS_PORT"),
        ("loopback", Address::Loopback, "$PORT"),
        ("loopback", Address::Loopback, "22"),
        ("mapped loopback", Address::MappedLoopback, "$EGRESS_PORT"),
        ("own host", Address::OwnHost, "$EGRESS_PORT"),
        ("elsewhere", Address::Elsewhere, "$EGRESS_PORT"),
        ("elsewhere", Address::Elsewhere, "53"),
        ("elsewhere", Address::Elsewhere, "443"),
    ] {
        let number = column.port(port);
        ask(format!("connect {name} {port}"), tcp(address, number));
    }
    for (name, address) in [
        ("loopback", Address::Loopback),
        ("elsewhere", Address::Elsewhere),
    ] {
        let datagram = Operation::Connect(Endpoint::Udp(address, 53));
        ask(format!("datagram {name} 53"), datagram);
    }
    for said in [
        "$SOCKET",
        "$ROOT/a.sock",
        "/private/var/run/syslog",
        "/private/var/run/asl_input",
        "/private/var/run/mDNSResponder",
        "/private/var/run/com.apple.launchd.a/Listeners",
    ] {
        ask(format!("connect {said}"), socket(&column.path(said)));
    }
    let own = Endpoint::Tcp(Address::Loopback, column.port("$PORT"));
    ask("bind loopback $PORT".into(), Operation::Bind(own.clone()));
    ask("accept loopback $PORT".into(), Operation::Accept(own));
    let any = Endpoint::Tcp(Address::OwnHost, 8080);
    ask("accept own host 8080".into(), Operation::Accept(any));
    let unix = Endpoint::Socket(column.path("$SCRATCH/a.sock"));
    ask("bind $SCRATCH/a.sock".into(), Operation::Bind(unix));
    for service in SERVICES {
        let operation = Operation::LookUp((*service).to_owned());
        ask(format!("look up {service}"), operation);
    }
    for app in ["com.culturedcode.ThingsMac", "com.apple.finder"] {
        ask(format!("event {app}"), Operation::SendEvent(app.to_owned()));
    }
    for domain in ["com.openai.codex", "com.apple.Safari"] {
        let operation = Operation::ReadPreferences(domain.to_owned());
        ask(format!("preferences {domain}"), operation);
    }
    ask(
        "kernel hw.ncpu".into(),
        Operation::ReadKernel("hw.ncpu".into()),
    );
    ask("open an app".into(), Operation::Open);
    ask("fork".into(), Operation::Fork);
    ask("signal itself".into(), Operation::Signal(Receiver::Itself));
    let same = Operation::Signal(Receiver::SameSandbox);
    ask("signal the same sandbox".into(), same);
    ask("signal others".into(), Operation::Signal(Receiver::Other));
    all
}

fn letter(answer: Answer) -> char {
    match answer {
        Answer::Allowed(_, Evidence::Measured) => 'A',
        Answer::Allowed(_, Evidence::Assumed) => 'a',
        Answer::Denied(Decider::Default, Evidence::Measured) => '.',
        Answer::Denied(Decider::Default, Evidence::Assumed) => ',',
        Answer::Denied(_, Evidence::Measured) => 'D',
        Answer::Denied(_, Evidence::Assumed) => 'd',
    }
}

const LEGEND: [(char, &str); 6] = [
    ('A', "allowed, measured"),
    ('a', "allowed, assumed"),
    ('D', "denied by a rule, measured"),
    ('d', "denied by a rule, assumed"),
    ('.', "denied by default, measured"),
    (
        ',',
        "denied by default, assumed: Apple's bsd.sb may allow more than is known",
    ),
];

#[test]
fn answers_under_each_profile_are_those_that_were_reviewed() {
    let columns = columns();
    let mut table =
        String::from("; What Seatbelt answers under each profile, from left to right:\n");
    for (at, column) in columns.iter().enumerate() {
        writeln!(table, ";   {:2}  {}", at + 1, column.name).expect("a text");
    }
    let asked: Vec<_> = columns.iter().map(asked).collect();
    let mut letters = Vec::new();
    for (row, (label, _)) in asked[0].iter().enumerate() {
        let mut line = format!("{label:70}");
        for (at, (column, asked)) in columns.iter().zip(&asked).enumerate() {
            if at > 0 && at % 5 == 0 {
                line.push(' ');
            }
            let letter = letter(column.seatbelt.ask(&asked[row].1));
            line.push(letter);
            letters.push(letter);
        }
        writeln!(table, "{line}").expect("a text");
    }
    writeln!(table, "\n; {} operations; answers:", asked[0].len()).expect("a text");
    for (known, meaning) in LEGEND {
        let count = letters.iter().filter(|letter| **letter == known).count();
        writeln!(table, ";   {known} {count:5}  {meaning}").expect("a text");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    hold(&folder.join(TABLE), &table);
}

/// A reviewer of a table of thousands sees no single letter: what must never be is said here too.
#[test]
fn no_profile_reaches_what_is_not_its_own() {
    let mut seen = 0;
    for column in columns() {
        let given = |key: &str| column.parameters.contains_key(key);
        let own: Vec<String> = ["ROOT", "SCRATCH", "CALLS"]
            .map(|key| column.value(key))
            .into();
        let starts_apps = column.name.starts_with("things");
        let asks_apps = starts_apps || column.name.starts_with("apple-");
        let is_agent = ["children/claude", "children/codex"].contains(&column.name.as_str());
        for (label, operation) in asked(&column) {
            let answer = column.seatbelt.ask(&operation);
            let at = format!("{}: {label} is {answer}", column.name);
            match &operation {
                Operation::Write(place)
                | Operation::Create(place)
                | Operation::Remove(place)
                | Operation::SetMode(place) => {
                    let inside = own
                        .iter()
                        .any(|own| Path::new(&place.path).starts_with(own));
                    let of_base = ["/dev/null", "/cores/core.1"].contains(&place.path.as_str());
                    assert!(!answer.allows() || inside || of_base, "{at}");
                    let planted = place.kind == Kind::Link && answer.allows();
                    assert!(!planted || is_agent, "{at}");
                }
                Operation::SetId(_) | Operation::SetAttribute(_) => {
                    let is_bit = matches!(operation, Operation::SetId(_));
                    assert!(!answer.allows() || column.is_run && !is_bit, "{at}");
                    assert!(answer.evidence() == Evidence::Measured, "{at}");
                }
                Operation::Read(place) if place.path.starts_with("/Users/") => {
                    let named = ["DATABASE", "SHARE_0", "ANSWERS"].map(|key| column.value(key));
                    let mut known = own.iter().chain(&named);
                    let inside = known.any(|own| Path::new(&place.path).starts_with(own));
                    assert!(!answer.allows() || inside, "{at}");
                }
                Operation::Execute(place) if !column.is_run => {
                    let programs = ["/usr/bin/osascript", "/usr/bin/open"];
                    let of_things = starts_apps && programs.contains(&place.path.as_str());
                    let itself = place.path == column.value("WORKER");
                    assert!(!answer.allows() || itself || of_things, "{at}");
                }
                Operation::Connect(_) => {
                    let is_way = label.contains("EGRESS_PORT") && given("EGRESS_PORT");
                    let is_way = is_way && !label.contains("elsewhere");
                    let is_egress = column.name.starts_with("egress");
                    assert!(!answer.allows() || is_way || is_egress, "{at}");
                    // No socket of the system, and no doubt about it.
                    let system = label.contains("/private/var/run/");
                    assert!(!system || matches!(answer, Answer::Denied(..)), "{at}");
                    assert!(!system || answer.evidence() == Evidence::Measured, "{at}");
                }
                Operation::LookUp(service) => {
                    let keys = ["com.apple.SecurityServer", "com.apple.securityd.xpc"];
                    let of_apps = ["calaccessd", "CalendarAgent", "remindd", "tccd"];
                    let of_apps = of_apps.iter().any(|name| service.ends_with(name));
                    let starts = ["lsd", "launchservicesd", "appleevents", "coreservicesd"];
                    let starts = starts.iter().any(|name| service.contains(name));
                    assert!(
                        !answer.allows() || !keys.contains(&service.as_str()),
                        "{at}"
                    );
                    assert!(!answer.allows() || !of_apps || asks_apps, "{at}");
                    assert!(!answer.allows() || !starts || starts_apps, "{at}");
                    let watches = ["FSEvents", "pasteboard.1", "windowserver.active"];
                    let watches = watches.iter().any(|name| service.ends_with(name));
                    assert!(!answer.allows() || !watches, "{at}");
                }
                Operation::SendEvent(app) => {
                    let is_things = starts_apps && app == "com.culturedcode.ThingsMac";
                    assert!(!answer.allows() || is_things, "{at}");
                }
                Operation::Open => assert!(!answer.allows() || starts_apps, "{at}"),
                Operation::Fork => assert!(!answer.allows() || starts_apps || is_agent, "{at}"),
                Operation::Signal(Receiver::Other) => assert!(!answer.allows(), "{at}"),
                _ => {}
            }
            seen += 1;
        }
    }
    assert!(seen > 8000, "{seen}");
}

/// On macOS another process than the program proves the cage: under what the program has, and the right to be executed.
#[test]
fn proof_of_a_run_has_its_own_program_more_and_nothing_else() {
    let own = "/opt/plexus/libexec/plexus/plexus-sandbox-exec";
    for column in columns().iter().filter(|column| column.is_run) {
        let mut parameters = column.parameters.clone();
        parameters.insert(PROOF.to_owned(), own.to_owned());
        let proof = understood(&with_proof(&column.text), &parameters);
        for (label, operation) in asked(column) {
            let (program, proof) = (column.seatbelt.ask(&operation), proof.ask(&operation));
            assert_eq!(proof, program, "{} {label}", column.name);
        }
        let exec = Operation::Execute(Place::file(own));
        assert!(proof.ask(&exec).allows() && !column.seatbelt.ask(&exec).allows());
    }
}

/// What the programs of runs need on a Mac, beyond coming to their main.
#[test]
fn runs_reach_what_their_programs_need() {
    for column in columns().iter().filter(|column| column.is_run) {
        let is_agent = !["children/command", "children/mcp"].contains(&column.name.as_str());
        let needs = |label: &str| {
            let all = asked(column);
            let found = all.iter().find(|(known, _)| known == label);
            let (_, operation) = found.unwrap_or_else(|| panic!("{label} is not asked"));
            let answer = column.seatbelt.ask(operation);
            assert!(answer.allows(), "{}: {label} is {answer}", column.name);
        };
        for label in [
            "list /",
            "read $PROGRAM",
            "execute $PROGRAM",
            "read /usr/lib/libSystem.B.dylib",
            "map code /usr/lib/libSystem.B.dylib",
            "read $ROOT/a.md",
            "read $SCRATCH/kept",
            "read /opt/homebrew/Cellar/node/24/bin/node",
            "map code /opt/homebrew/Cellar/node/24/bin/node",
            "look up com.apple.system.opendirectoryd.libinfo",
            "kernel hw.ncpu",
            "signal the same sandbox",
        ] {
            needs(label);
        }
        if is_agent {
            for label in [
                "execute /bin/zsh",
                "execute /usr/bin/git",
                "execute /Library/Developer/CommandLineTools/usr/bin/git",
                "execute $TOOLS_0/bin/git",
                "map code $TOOLS_0/bin/git",
                "read /private/var/select/developer_dir",
                "write $ROOT/.git/config",
                "link $ROOT/link",
                "write $CALLS",
                "read $ANSWERS",
                "connect loopback $EGRESS_PORT",
                "look up com.apple.trustd.agent",
                "look up com.apple.bsd.dirhelper",
                "fork",
            ] {
                needs(label);
            }
        }
        if column.name == "children/codex" {
            needs("look up com.apple.SystemConfiguration.configd");
            needs("preferences com.openai.codex");
        }
    }
}
