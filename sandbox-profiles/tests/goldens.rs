//! What each profile comes to on macOS, parameters filled in, kept to be read and held against what is known of
//! Apple's sandbox language. Nothing here runs Apple's compiler: a Mac has the last word.
//!
//! `PLEXUS_UPDATE_GOLDENS=1` writes what was seen; the difference is then reviewed like any other change.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use plexus_sandbox::lint::{PARAMETERS, ROLES};
use plexus_sandbox::profile::{Action, Argument, Clause, Filter, Profile, Rule, Text};
use plexus_sandbox::reach::{Platform, reach};
use plexus_sandbox::ruleset::{Parameters, Ruleset};

/// Connectors whose workers start programs of macOS, with all that their profiles spell out beyond what is passed: see decision
/// 0053.
const STARTS_PROGRAMS: &[(&str, &[&str])] = &[(
    "things",
    &[
        "/usr/bin/osascript",
        "/usr/bin/open",
        "/System/Library",
        "/Library/ScriptingAdditions",
        "/Applications/Things3.app",
        "com.apple.coreservices.appleevents",
        "com.apple.coreservices.launchservicesd",
        "com.apple.CoreServices.coreservicesd",
        "com.apple.lsd.mapdb",
        "com.apple.tccd",
        "com.apple.tccd.system",
        "com.apple.cfprefsd.agent",
        "com.apple.cfprefsd.daemon",
        "com.apple.lsd.open",
        "com.apple.coreservices.quarantine-resolver",
        "com.culturedcode.ThingsMac",
    ],
)];
/// The parameter of a path field, in the goldens of each connector that has one.
const PATHS: &[(&str, &str, &str)] = &[(
    "things",
    "DATABASE",
    "/Users/me/Library/Group Containers/JLMPQHK86H.com.culturedcode.ThingsMac",
)];

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) text: String,
    pub(crate) parameters: Parameters,
}

/// Every profile in every role that it tells apart.
pub(crate) fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).expect("the crate's folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sb"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let name = file
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&file).expect("its text");
        let asks = Profile::parse(&text).expect("it parses");
        let roles = if asks.parameters().contains("ROLE") {
            &ROLES[..]
        } else {
            &ROLES[..1]
        };
        for role in roles {
            // A vault as macOS has them: a space, a tilde, a capital.
            let value = |key: &str| match key {
                "WORKER" => format!("/opt/plexus/libexec/plexus/plexus-worker-{name}"),
                "ROOT" => "/Users/me/Library/Mobile Documents/iCloud~md~obsidian/Documents/Notes"
                    .to_owned(),
                "SCRATCH" => format!("/Users/me/.plexus/workers/{name}"),
                "ROLE" => (*role).to_owned(),
                "SOCKET" => "/Users/me/Library/Player/player.sock".to_owned(),
                port => format!(
                    "70{:02}",
                    PARAMETERS.iter().position(|key| *key == port).unwrap_or(0)
                ),
            };
            let mut case = Case {
                name: name.clone(),
                role,
                text: text.clone(),
                parameters: PARAMETERS
                    .iter()
                    .filter(|key| {
                        let of_some = key.contains("PORT") || **key == "SOCKET";
                        !of_some || asks.parameters().contains(**key)
                    })
                    .map(|key| ((*key).to_owned(), value(key)))
                    .collect(),
            };
            // Once without its path, once with it.
            if let Some((_, key, path)) = PATHS.iter().find(|(of, ..)| *of == name) {
                let parameters = case.parameters.clone();
                let text = text.clone();
                cases.push(Case {
                    name: name.clone(),
                    role,
                    text,
                    parameters,
                });
                case.name = format!("{name}.{}", key.to_lowercase());
                case.parameters
                    .insert((*key).to_owned(), (*path).to_owned());
            }
            cases.push(case);
        }
    }
    assert!(
        cases.len() >= 6,
        "the goldens of three profiles and two roles at least"
    );
    cases
}

impl Case {
    /// The connector's name.
    fn connector(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }

    /// What it spells out, where its workers start programs.
    fn spelled_out(&self) -> Option<&[&str]> {
        let found = STARTS_PROGRAMS
            .iter()
            .find(|(name, _)| *name == self.connector());
        found.map(|(_, all)| *all)
    }

    fn expanded(&self) -> Profile {
        let profile = Profile::parse(&self.text).expect("it parses");
        profile.expanded(&self.parameters).expect("it expands")
    }

    fn rules(&self) -> Vec<Rule> {
        let rule = |form: plexus_sandbox::profile::Form| match form.what {
            Clause::Rule(rule) => Some(rule),
            Clause::If { .. } | Clause::SystemCalls(_) => None,
        };
        self.expanded().forms.into_iter().filter_map(rule).collect()
    }
}

/// The profiles of runs, with values for their parameters.
fn runs() -> impl Iterator<Item = crate::answers::Column> {
    let columns = crate::answers::columns().into_iter();
    columns.filter(|column| column.is_run)
}

#[test]
fn each_expansion_is_the_one_that_was_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut expected = Vec::new();
    for case in cases() {
        let mut golden = format!(
            "; {}.sb as macOS takes it for a {}, with\n",
            case.connector(),
            case.role
        );
        for (key, value) in &case.parameters {
            writeln!(golden, ";   -D {key}={value}").expect("a text");
        }
        write!(golden, "\n{}", case.expanded()).expect("a text");
        golden.push_str("\n; In words:\n");
        let words =
            reach(&case.text, &case.parameters, Platform::MacOs).expect("it is put in words");
        for (list, words) in [
            ("may read", &words.may_read),
            ("may write", &words.may_write),
            ("may run", &words.may_run),
            ("may talk to", &words.may_talk_to),
            ("may also", &words.may_also),
        ] {
            for may in words {
                let why = may.why.as_deref().expect("every rule says why");
                writeln!(golden, ";   {list}: {}  ({why})", may.what).expect("a text");
            }
        }
        let name = format!("{}.{}.sb", case.name, case.role);
        hold(&folder.join(&name), &golden);
        expected.push(name);
    }
    for run in runs() {
        let mut golden = format!("; {}.sb as macOS takes it, with\n", run.name);
        for (key, value) in &run.parameters {
            writeln!(golden, ";   -D {key}={value}").expect("a text");
        }
        let profile = Profile::parse(&run.text).expect("it parses");
        let expanded = profile.expanded(&run.parameters).expect("it expands");
        write!(golden, "\n{expanded}").expect("a text");
        let name = format!("{}.sb", run.name.replace('/', "."));
        hold(&folder.join(&name), &golden);
        expected.push(name);
    }
    let mut kept: Vec<String> = std::fs::read_dir(&folder)
        .expect("the goldens")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    expected.push(crate::answers::TABLE.to_owned());
    kept.sort();
    expected.sort();
    assert_eq!(kept, expected, "a golden of a profile that is gone");
}

pub(crate) fn hold(path: &Path, seen: &str) {
    if std::env::var_os("PLEXUS_UPDATE_GOLDENS").is_some() {
        return std::fs::write(path, seen).expect("the golden can be written");
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == seen,
        "{} differs; if the change is meant, set PLEXUS_UPDATE_GOLDENS=1 and review it\n--- kept\n{kept}\n--- seen\n{seen}",
        path.display()
    );
}

/// A golden shows what is enforced, or it shows nothing.
#[test]
fn an_expansion_means_what_the_profile_means() {
    for case in cases() {
        let profile = Profile::parse(&case.text).expect("it parses");
        let filled = Profile::parse(&case.expanded().to_string()).expect("an expansion parses");
        let plain = |ruleset: Ruleset| {
            let grants = |all: Vec<plexus_sandbox::ruleset::PathGrant>| {
                all.into_iter()
                    .map(|grant| (grant.path, grant.extent))
                    .collect::<Vec<_>>()
            };
            (
                grants(ruleset.reads),
                grants(ruleset.writes),
                grants(ruleset.executes),
                ruleset.forks,
                ruleset.creates_links,
            )
        };
        let with = plain(Ruleset::evaluate(&profile, &case.parameters).expect("it evaluates"));
        let without = plain(
            Ruleset::evaluate(&filled, &Parameters::new()).expect("nothing is left to fill in"),
        );
        assert_eq!(with, without, "{} as {}", case.name, case.role);
    }
}

#[test]
fn the_order_is_that_in_which_the_last_match_wins() {
    for case in cases() {
        let at = |case: &Case| format!("{} as {}", case.name, case.role);
        let text = case.expanded().to_string();
        let fork = match case.spelled_out() {
            Some(_) => "",
            None => "(deny process-fork)\n",
        };
        let head = format!(
            "(version 1)\n(deny default)\n(import \"bsd.sb\")\n{fork}(deny network-outbound (remote ip \"*:*\") (subpath \"/\"))\n"
        );
        assert!(
            text.starts_with(&head),
            "{}: what bsd.sb allows is taken back first\n{text}",
            at(&case)
        );
        let rules = case.rules();
        let speaks = |rule: &Rule, action, family: &str| {
            rule.action == action && rule.operations.iter().any(|name| name.starts_with(family))
        };
        let last_write = rules
            .iter()
            .rposition(|rule| speaks(rule, Action::Allow, "file-write"));
        let links = rules
            .iter()
            .rposition(|rule| speaks(rule, Action::Deny, "file-write-create"));
        assert!(
            last_write.is_none_or(|write| links.is_some_and(|links| links > write)),
            "{}: links are denied after everything that is written",
            at(&case)
        );
        assert_eq!(case.role == "writer", last_write.is_some(), "{}", at(&case));
    }
}

#[test]
fn a_dyld_binary_can_start_and_nothing_is_allowed_without_a_filter() {
    let literal = |filter: &Filter, path: &str| {
        filter.name == "literal"
            && matches!(filter.arguments.as_slice(), [Argument::Text(Text::Literal(text))] if text == path)
    };
    for case in cases() {
        let rules = case.rules();
        let allows = |operation: &str, path: &str| {
            rules.iter().any(|rule| {
                rule.action == Action::Allow
                    && rule.operations.iter().any(|name| name == operation)
                    && rule.filters.iter().any(|filter| literal(filter, path))
            })
        };
        let worker = case.parameters["WORKER"].as_str();
        assert!(
            allows("process-exec*", worker) && allows("file-read*", worker),
            "{}",
            case.name
        );
        assert!(
            allows("file-read-data", "/"),
            "{}: macOS 26 reads the root folder before main",
            case.name
        );
        for rule in rules.iter().filter(|rule| rule.action == Action::Allow) {
            let whole = ["process-fork", "lsopen"].map(str::to_owned);
            let is_whole = case.spelled_out().is_some() && whole.contains(&rule.operations[0]);
            assert!(
                !rule.filters.is_empty() || is_whole,
                "{}: {rule}",
                case.name
            );
            // The other connectors need files, the way to their hosts, and for Apple's apps the services behind EventKit.
            let known = [
                "process-exec*",
                "file-read*",
                "file-read-data",
                "file-write*",
                "signal",
                "network-outbound",
                "network-inbound",
                "mach-lookup",
            ];
            let of_apps = ["process-fork", "lsopen", "mach-lookup", "appleevent-send"];
            for operation in &rule.operations {
                let for_apps =
                    case.spelled_out().is_some() && of_apps.contains(&operation.as_str());
                assert!(
                    known.contains(&operation.as_str()) || for_apps,
                    "{}: {rule}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn paths_come_through_parameters_and_are_what_they_lead_to() {
    for case in cases() {
        let text = case.expanded().to_string();
        assert!(!text.contains("(param") && text.is_ascii(), "{text}");
        // Of what is denied nothing is wider than all.
        let rules = case.rules().into_iter();
        for rule in rules.filter(|rule| rule.action == Action::Allow) {
            for argument in rule.filters.iter().flat_map(|filter| &filter.arguments) {
                let Argument::Text(Text::Literal(path)) = argument else {
                    continue;
                };
                // The name of a service is no path; which ones there are is held below.
                if rule.operations == ["mach-lookup"] {
                    continue;
                }
                let port = path.rsplit_once(':').map(|(_, port)| port);
                let given = |value: &String| value == path || port == Some(value.as_str());
                assert!(
                    case.parameters.values().any(given)
                        || path == "/"
                        || path == "*:53"
                        || case
                            .spelled_out()
                            .is_some_and(|all| all.contains(&path.as_str())),
                    "{}: {path} is written out in {rule}",
                    case.name
                );
                assert!(
                    !path.starts_with("/var")
                        && !path.starts_with("/tmp")
                        && !path.starts_with("/etc"),
                    "{path}"
                );
            }
        }
        // What is passed is asked for, but for what a connector has no use for.
        let asked: Vec<String> = Profile::parse(&case.text)
            .expect("it parses")
            .parameters()
            .into_iter()
            .map(str::to_owned)
            .collect();
        assert!(
            asked.iter().all(|name| PARAMETERS.contains(&name.as_str())
                || PATHS
                    .iter()
                    .any(|(of, key, _)| *of == case.connector() && key == name)),
            "{asked:?}"
        );
        // The way to the network serves no folder, and what is behind it has none.
        let needs: &[&str] = match case.connector() {
            "egress" => &["WORKER", "PORT", "SOCKET"],
            "things" => &["WORKER", "DATABASE"],
            "caldav" | "channels" | "codex-peer" | "obsidian-rest" => &["WORKER", "EGRESS_PORT"],
            "apple-calendar" | "mcp" => &["WORKER"],
            "apple-reminders" | "cc-master" => &["WORKER", "SCRATCH"],
            _ => &["WORKER", "ROOT"],
        };
        assert!(
            needs.iter().all(|name| asked.contains(&(*name).to_owned())),
            "{asked:?}"
        );
    }
}

/// The services that a profile names, for one case.
fn services(case: &Case) -> Vec<String> {
    let rules = case.rules();
    let lookups = rules
        .iter()
        .filter(|rule| rule.operations.iter().any(|name| name == "mach-lookup"));
    let mut found = Vec::new();
    for filter in lookups.flat_map(|rule| &rule.filters) {
        assert_eq!(filter.name, "global-name", "{}: a wider filter", case.name);
        for argument in &filter.arguments {
            match argument {
                Argument::Text(Text::Literal(name)) => found.push(name.clone()),
                other => panic!("{}: {other:?}", case.name),
            }
        }
    }
    found.sort();
    found
}

/// What EventKit asks (calaccessd, before it CalendarAgent; remindd for reminders), consent and accounts: nothing else.
/// Apple events, launching apps, preferences and the network are in none of them.
#[test]
fn services_of_apps_are_those_behind_eventkit() {
    let calendar = [
        "com.apple.CalendarAgent",
        "com.apple.accountsd.accountmanager",
        "com.apple.calaccessd",
        "com.apple.tccd",
    ];
    // What a worker that starts programs reaches is spelled out above.
    for case in cases().iter().filter(|case| case.spelled_out().is_none()) {
        let mut expected: Vec<&str> = match case.connector() {
            "apple-calendar" => calendar.to_vec(),
            "apple-reminders" => calendar
                .iter()
                .copied()
                .chain(["com.apple.remindd"])
                .collect(),
            _ => vec![],
        };
        expected.sort_unstable();
        assert_eq!(services(case), expected, "{} as {}", case.name, case.role);
    }
}

/// The base stands in the words as one line, so that line says all that is more than reading.
#[test]
#[cfg(target_os = "linux")]
fn what_the_base_grants_beyond_reading_is_in_the_words() {
    let beyond: Vec<String> = plexus_sandbox::base_rules()
        .into_iter()
        .filter(|rule| !rule.starts_with("(allow file-read* (subpath"))
        .collect();
    for rule in &beyond {
        let loader = rule.starts_with("(allow file-read* process-exec* ") && rule.contains("/ld-");
        let null = rule == "(allow file-read* file-write-data (subpath \"/dev/null\"))";
        assert!(loader || null, "the words do not say {rule}");
    }
    assert!(beyond.len() > 1, "{beyond:?}");
    for case in cases() {
        let words = reach(&case.text, &case.parameters, Platform::Linux).expect("in words");
        let said = |may: &plexus_sandbox::reach::AllowedAction| {
            may.what.contains("run the loader") && may.what.contains("write to /dev/null")
        };
        assert!(words.may_read.iter().any(said), "{}", case.name);
    }
}

#[test]
fn words_for_linux_leave_out_what_a_mac_has() {
    // Of the cages, those of servers and commands name what Homebrew installs.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("children/mcp.sb");
    let text = std::fs::read_to_string(file).expect("its text");
    let given = ["PROGRAM", "ROOT", "SCRATCH"];
    let parameters = given.map(|key| (key.to_owned(), format!("/opt/plexus/{key}")));
    let parameters = Parameters::from(parameters);
    let is_named = |system| {
        let words = reach(&text, &parameters, system).expect("in words");
        let mut may_read = words.may_read.iter();
        may_read.any(|may| may.what.contains("/opt/homebrew"))
    };
    assert!(is_named(Platform::MacOs), "the control");
    let is_there = Path::new("/opt/homebrew").exists();
    assert_eq!(is_named(Platform::Linux), is_there, "the words for Linux");
}
