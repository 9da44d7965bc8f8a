//! A profile as data to compare and to tell the owner of: its rules without comments, and what a rule says in words.
//!
//! Must not know: how a kernel enforces them; that is the launcher's.

use plexus_protocol::Digest;
use plexus_trust::pins;

/// The whole profile without comments and runs of white space outside strings.
pub(crate) fn spelled(profile: &str) -> String {
    let mut rules = String::with_capacity(profile.len());
    let (mut in_string, mut escaped, mut in_comment) = (false, false, false);
    for c in profile.chars() {
        if in_comment {
            in_comment = c != '\n';
            continue;
        }
        match c {
            ';' if !in_string => in_comment = true,
            c if c.is_whitespace() && !in_string => {
                if !rules.ends_with(' ') {
                    rules.push(' ');
                }
            }
            c => {
                if c == '"' && !escaped {
                    in_string = !in_string;
                }
                escaped = in_string && c == '\\' && !escaped;
                rules.push(c);
            }
        }
    }
    rules.trim().to_owned()
}

/// Its top-level forms, one by one.
pub(crate) fn rules(profile: &str) -> Vec<String> {
    let text = spelled(profile);
    let (mut rules, mut rule) = (Vec::new(), String::new());
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for c in text.chars() {
        if depth == 0 && c == ' ' {
            continue;
        }
        rule.push(c);
        match c {
            '"' if !escaped => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = in_string && c == '\\' && !escaped;
        if depth == 0 && c == ')' {
            rules.push(std::mem::take(&mut rule));
        }
    }
    rules
}

const SYSTEM_CALLS: &str = "(allow system-calls \"";

/// The rule that stands for all that a cage lets ask of the kernel. No profile can say it.
pub(crate) fn system_calls(digest: &Digest) -> String {
    format!("{SYSTEM_CALLS}{digest}\")")
}

/// What one rule says, for a person: the operation in words where there are some, and what it is about as it stands.
pub fn words(rule: &str) -> String {
    if let Some(digest) = rule.strip_prefix(SYSTEM_CALLS) {
        let start = digest.get(..8).unwrap_or(digest);
        return format!("ask the kernel for: (what the list {start}… of system calls says)");
    }
    if let Some((child, digest)) = rule.strip_prefix("child ").and_then(|r| r.split_once(' ')) {
        let start = digest.get(..8).unwrap_or(digest);
        return format!(
            "run its program {child} as the digest {start}… of its sandbox, limits and arguments says"
        );
    }
    if let Some(command) = rule.strip_prefix("command ") {
        return format!("run the command {command}");
    }
    if let Some(request) = rule.strip_prefix("request ") {
        return format!("send the request {request}");
    }
    if let Some(words) = code(rule) {
        return words;
    }
    for role in ["reader", "writer"] {
        let only = format!("(if (string=? (param \"ROLE\") \"{role}\") ");
        let then = rule.strip_prefix(&only).and_then(|r| r.strip_suffix(')'));
        if let Some(then) = then {
            return format!("{} (only the {role})", words(then));
        }
    }
    let inner = rule.trim().trim_start_matches('(');
    let inner = inner.strip_suffix(')').unwrap_or(inner);
    let (act, rest) = inner.split_once(' ').unwrap_or((inner, ""));
    let about = rest.find('(').map_or("", |at| &rest[at..]);
    let operations = rest.split('(').next().unwrap_or_default();
    let verbs: Vec<&str> = operations.split_whitespace().map(verb).collect();
    let what = match about {
        "" => "anything".to_owned(),
        about => places(about)
            .replace("(subpath ", "(all below ")
            .replace("(literal ", "(just "),
    };
    match act {
        "allow" if !verbs.is_empty() => format!("{}: {what}", verbs.join(", ")),
        "deny" if !verbs.is_empty() => format!("not {}: {what}", verbs.join(", not ")),
        _ => rule.to_owned(),
    }
}

/// What a rule of a source's code says.
fn code(rule: &str) -> Option<String> {
    if let Some(what) = rule.strip_prefix(pins::CHANGEABLE) {
        return Some(format!("run what agents can change: {what}"));
    }
    let what = [pins::PROGRAM, pins::SCRIPT, pins::FILES]
        .into_iter()
        .find(|begin| rule.starts_with(begin))?;
    let (_, named) = rule.strip_prefix(what)?.split_once(' ')?;
    let (path, digest) = named.rsplit_once(' ')?;
    Some(match what {
        pins::FILES => format!("run the files in {path} as they are with the digest {digest}"),
        pins::SCRIPT => format!("run the script {path} with SHA-256 {digest}"),
        _ => format!("run the program {path} with SHA-256 {digest}"),
    })
}

/// The parameters in words; what is not one of every worker's is a path field.
fn places(about: &str) -> String {
    let mut said = about
        .replace("(param \"ROOT\")", "the source's folder")
        .replace("(param \"SCRATCH\")", "its scratch folder")
        .replace("(param \"WORKER\")", "its own program");
    while let Some((before, rest)) = said.split_once("(param \"")
        && let Some((name, after)) = rest.split_once("\")")
    {
        said = format!("{before}its path {name}{after}");
    }
    said
}

fn verb(operation: &str) -> &str {
    match operation {
        "file-read*" => "read",
        "file-read-data" => "read the content of",
        "file-read-metadata" => "see the dates and sizes of",
        "file-write*" => "create, change and remove",
        "file-write-create" => "create",
        "file-write-data" => "change the content of",
        "file-map-executable" => "load code of",
        "file-write-unlink" => "remove",
        "process-exec" | "process-exec*" => "run",
        "process-fork" => "start processes",
        "network*" => "use the network",
        "network-outbound" => "connect to",
        "plexus-egress" => "reach over the network",
        "network-bind" | "network-inbound" => "listen on",
        "mach-lookup" => "talk to the system service",
        "appleevent-send" => "control the app",
        "sysctl-read" => "read the system's settings",
        "signal" => "send signals",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_the_forms_without_comments() {
        let profile = "(version 1) ; one\n(allow file-read*\n  (subpath (param \"ROOT\")) ; why\n  (literal \"/a ;b)\"))\n(deny default)";
        assert_eq!(
            rules(profile),
            [
                "(version 1)",
                "(allow file-read* (subpath (param \"ROOT\")) (literal \"/a ;b)\"))",
                "(deny default)",
            ]
        );
    }

    #[test]
    fn a_rule_in_words() {
        let all = r#"(allow file-read* file-write* (subpath (param "ROOT")))"#;
        let path = r#"(allow file-read* (subpath (param "LIBRARY")) (literal (param "X")))"#;
        let writer = r#"(if (string=? (param "ROLE") "writer") (allow process-fork))"#;
        let host = r#"(allow network-outbound (remote tcp "localhost:80"))"#;
        let not = r#"(deny file-write* (literal "/x"))"#;
        for (rule, said) in [
            (
                all,
                "read, create, change and remove: (all below the source's folder)",
            ),
            (host, r#"connect to: (remote tcp "localhost:80")"#),
            ("(allow process-fork)", "start processes: anything"),
            (not, r#"not create, change and remove: (just "/x")"#),
            ("(allow odd-thing)", "odd-thing: anything"),
            (writer, "start processes: anything (only the writer)"),
            (path, "read: (all below its path LIBRARY) (just its path X)"),
            (
                "child turn cf74b74fa16b0000",
                "run its program turn as the digest cf74b74f… of its sandbox, limits and arguments says",
            ),
            ("(version 1)", "(version 1)"),
        ] {
            assert_eq!(words(rule), said);
        }
    }

    #[test]
    fn every_shipped_profile_comes_apart_and_is_put_together_again() {
        for connector in crate::shipped::SHIPPED {
            let rules = rules(connector.profile);
            assert!(rules.len() > 3, "{}", connector.name);
            let together: String = rules.concat();
            let spelled: String = spelled(connector.profile);
            let bare = |text: &str| text.replace(' ', "");
            assert_eq!(bare(&together), bare(&spelled), "{}", connector.name);
        }
    }
}
