//! Words of a command line that a person or an agent can paste into a POSIX shell.

use std::path::Path;

/// `word`, quoted where a shell would take it apart.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./=:@%+,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// An option with its value, behind a command line; a value that begins with `-` would be read as an option of its own.
#[must_use]
pub fn option(name: &str, value: &str) -> String {
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!(" --{name}{between}{}", quote(value))
}

/// The beginning of a command line that reaches the gateway with this state directory: `PLEXUS_HOME=… `, or empty where
/// that is the usual one of a user whose home directory is `user`.
#[must_use]
pub fn home_prefix(state: &Path, user: Option<&Path>) -> String {
    match user.map(|user| user.join(".plexus")) {
        Some(usual) if usual == state => String::new(),
        _ => format!("PLEXUS_HOME={} ", quote(&state.display().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_home_is_not_named() {
        let prefix = |state: &str, user| home_prefix(Path::new(state), user);
        let user = Some(Path::new("/home/p"));
        assert_eq!(prefix("/home/p/.plexus", user), "");
        assert_eq!(prefix("/srv/plexus", user), "PLEXUS_HOME=/srv/plexus ");
        assert_eq!(prefix("/a home", None), "PLEXUS_HOME='/a home' ");
    }

    #[test]
    fn quoting() {
        assert_eq!(quote("path=Projects/a.md"), "path=Projects/a.md");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("~"), "'~'");
        assert_eq!(option("path", "a b"), " --path 'a b'");
        assert_eq!(option("path", "-a b"), " --path='-a b'");
    }
}
