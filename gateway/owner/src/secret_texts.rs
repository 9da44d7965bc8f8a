//! What looks like a secret in a client's configuration: by its name, or by its form.
//!
//! Invariant: a verdict names where a secret stands, and holds nothing of it.
//!
//! Must not know: what a secret opens.

/// Parts of names of what is secret.
const NAMES: [&str; 6] = ["KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL", "AUTH"];
/// How keys and tokens of well-known services begin.
const BEGINNINGS: [&str; 14] = [
    "sk-",
    "pk-",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "eyJ",
    "plx_",
];
/// Shortest text without a beginning of its own that counts as a key, and longest part of one that does not.
const LONG: usize = 20;
const PART: usize = 12;

/// Whether a name says that its value is a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    NAMES.iter().any(|part| name.contains(part))
}

/// Whether a value has the form of a key or a token, whatever it is called.
pub(crate) fn looks_secret(value: &str) -> bool {
    let value = value.strip_prefix("Bearer ").unwrap_or(value);
    if value.len() >= PART && BEGINNINGS.iter().any(|begins| value.starts_with(begins)) {
        return true;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=.~".contains(c);
    let mixed = value.contains(|c: char| c.is_ascii_digit())
        && value.contains(|c: char| c.is_ascii_alphabetic());
    // Names with numbers in them, as packages and files have, are made of short parts.
    let mut parts = value.split(['.', '-', '_']);
    let is_name = parts.all(|part| part.len() < PART);
    value.len() >= LONG && value.chars().all(plain) && mixed && !is_name
}

/// Whether a text has a secret in it: as a whole, in a URL, or in a part of it (`Authorization: Bearer X`, `host=db password=X`).
pub(crate) fn holds_secret(text: &str) -> bool {
    let divides = |c: char| c.is_whitespace() || ":=,;{}[]\"'".contains(c);
    let parts = text.split(divides).filter(|part| !part.is_empty());
    let mut after_name = false;
    let mut in_a_part = parts.map(|part| {
        let found = after_name || looks_secret(part);
        after_name = is_secret(part);
        found
    });
    looks_secret(text) || url_part_with_secret(text).is_some() || in_a_part.any(|found| found)
}

/// The first argument with a secret in it, by its name.
pub(crate) fn argument_with_secret(arguments: &[String]) -> Option<String> {
    let mut option: Option<&str> = None;
    for argument in arguments {
        let name = match argument.split_once('=') {
            Some((name, _)) => Some(name),
            None => option.filter(|_| !argument.starts_with('-')),
        };
        let by_option =
            option.is_some_and(is_secret) && !argument.is_empty() && !argument.starts_with('-');
        if by_option || holds_secret(argument) {
            // What stands before a sign of equality may be the secret itself.
            let is_name = |name: &&str| {
                name.len() <= 40
                    && !looks_secret(name)
                    && name
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            };
            return Some(match name.filter(is_name) {
                Some(name) => format!("its argument {name}"),
                None => "an argument of it".to_owned(),
            });
        }
        option = argument.starts_with('-').then_some(argument.as_str());
    }
    None
}

/// Which part of a URL holds a secret.
pub(crate) fn url_part_with_secret(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (place, query) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    if host.contains('@') {
        return Some("its user name with a password".to_owned());
    }
    let mut members = query.split('&').filter_map(|member| member.split_once('='));
    let member = members.find(|(name, value)| is_secret(name) || looks_secret(value));
    if let Some((name, _)) = member {
        return Some(format!("its parameter {name}"));
    }
    let in_path = path.split('/').any(looks_secret);
    in_path.then(|| "a part of its path".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AbCd1234efGH5678ijKL90";

    #[test]
    fn secret_is_found_wherever_a_client_keeps_it() {
        #[rustfmt::skip]
        let rows = [
            (vec!["--api-key", "hush"], "its argument --api-key"),
            (vec!["--level=AbCd1234efGH5678ijKL90"], "its argument --level"),
            (vec!["--level", KEY], "its argument --level"),
            (vec!["API_TOKEN=hush"], "its argument API_TOKEN"),
            (vec![KEY], "an argument of it"),
            (vec!["ghp_0123456789"], "an argument of it"),
            (vec!["--header", "Authorization: Bearer ghp_0123456789"], "its argument --header"),
            (vec!["Authorization: Bearer abc=="], "an argument of it"),
            (vec!["host=db password=hush"], "its argument host"),
            (vec!["{\"token\":\"hush\"}"], "an argument of it"),
            (vec!["AbCd1234efGH5678ijKL90=="], "an argument of it"),
            (vec!["postgresql://me:hush@db/x"], "an argument of it"),
            (vec!["x", "--db=postgresql://me:hush@db/x"], "its argument --db"),
        ];
        for (arguments, says) in rows {
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            assert_eq!(
                argument_with_secret(&arguments).as_deref(),
                Some(says),
                "{arguments:?}"
            );
        }
        #[rustfmt::skip]
        let rows = [
            ("https://a.example/mcp?x=AbCd1234efGH5678ijKL90", "its parameter x"),
            ("https://a.example/mcp?token=hush", "its parameter token"),
            ("https://me:hush@a.example/", "its user name with a password"),
            ("https://a.example/s/AbCd1234efGH5678ijKL90/mcp", "a part of its path"),
        ];
        for (url, says) in rows {
            assert_eq!(url_part_with_secret(url).as_deref(), Some(says), "{url}");
        }
        assert!(looks_secret("Bearer eyJhbGciOiJIUzI1NiJ9"));
    }

    #[test]
    fn what_names_no_secret_is_none() {
        for argument in [
            "/home/me/some-long-folder-2026/notes.jsonl",
            "@modelcontextprotocol/server-memory@2026.8.31",
            "mcp-server-time-2026.10.19",
            "--verbose",
            "Europe/Berlin",
            "--port=8080",
            "https://a.example/v1/mcp",
        ] {
            assert_eq!(
                argument_with_secret(&[argument.to_owned()]),
                None,
                "{argument}"
            );
        }
        let after_a_flag = ["--auth".to_owned(), "--verbose".to_owned()];
        assert_eq!(argument_with_secret(&after_a_flag), None);
    }
}
