//! Which environment variables an extension may give its programs.
//!
//! A variable can have a program load code, read another configuration, or run a helper, and no list of such names is ever
//! whole. So the rule goes by the words of a name: one that speaks of code, options, places or helpers is refused, and so
//! is every variable of a loader, a library or an interpreter.
//!
//! Must not know: what a program does with a variable.

/// Beginnings of names that belong to loaders, libraries and interpreters.
const OWNERS: [&str; 27] = [
    "LD", "DYLD", "GCONV", "GLIBC", "MALLOC", "GIT", "PYTHON", "NODE", "PERL", "RUBY", "GEM",
    "JAVA", "JDK", "LUA", "PHP", "BASH", "ZDOT", "ENV", "SSH", "GPG", "NPM", "DBUS", "XDG",
    "SYSTEMD", "CARGO", "RUST", "GO",
];

/// Words that name code, options, places or helpers.
const WORDS: [&str; 48] = [
    "ALIASES", "ARGS", "ASKPASS", "AUDIT", "BROWSER", "CMD", "COMMAND", "CONF", "CONFIG", "DIR",
    "EDITOR", "ENGINES", "ENV", "EXEC", "FILE", "FLAGS", "FPATH", "HOME", "HOOK", "HOOKS", "IFS",
    "INIT", "LIB", "LIBRARY", "LIBS", "LOADER", "LOCPATH", "MODULE", "MODULES", "NLSPATH", "OPT",
    "OPTIONS", "OPTS", "PAGER", "PATH", "PATHS", "PLUGIN", "PLUGINS", "PRELOAD", "PROFILE",
    "PROXY", "RC", "SHELL", "SOCK", "SOCKET", "STARTUP", "TUNABLES", "VISUAL",
];

/// Why no extension sets this variable.
pub(super) fn refused(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    // `PYTHONPATH` and `NODE_OPTIONS` alike; `GOAL` is no variable of Go's.
    let is_owned = |owner: &&str| {
        let rest = upper.strip_prefix(owner);
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('_') || (owner.len() > 3 && owner != &"RUST")
        })
    };
    let names_code = |part: &str| {
        WORDS.contains(&part)
            // `GREPOPTIONS`, `MANPATH`.
            || ["PATH", "OPTIONS", "OPTS", "FLAGS", "PRELOAD"]
                .iter()
                .any(|end| part.ends_with(end))
    };
    (OWNERS.iter().any(is_owned) || upper.split('_').any(names_code)).then(|| {
        format!("env {name:?} names code, options, a place or a helper, which could have the program run other code than its own")
    })
}

#[cfg(test)]
mod tests {
    use super::refused;

    #[test]
    fn variable_that_steers_a_program_is_refused() {
        let all = "LD_PRELOAD LD_AUDIT DYLD_INSERT_LIBRARIES GCONV_PATH GLIBC_TUNABLES GIT_SSH_COMMAND \
            PYTHONPATH PYTHONSTARTUP PYTHON_GIL NODE_OPTIONS PERL5LIB PERL5OPT RUBYOPT RUBYLIB \
            JAVA_TOOL_OPTIONS _JAVA_OPTIONS LUA_INIT BASH_ENV ENV ZDOTDIR PATH HOME SHELL EDITOR \
            PAGER LESSOPEN_CMD RIPGREP_CONFIG_PATH MANPATH LOCPATH HTTPS_PROXY SSH_AUTH_SOCK IFS \
            OPENSSL_CONF OPENSSL_MODULES TERMINFO_DIR XDG_CONFIG_HOME ld_preload";
        for name in all.split(' ') {
            assert!(refused(name).is_some(), "{name}");
        }
        // The controls.
        for name in "LANG LC_ALL TZ COLOUR NO_COLOR COLUMNS GOAL JOURNAL_DAY".split(' ') {
            assert!(refused(name).is_none(), "{name}");
        }
    }
}
