//! Settings from flags and environment, and whether Codex has a login.
//!
//! Invariants: a flag wins over the environment, also one that excludes a variable; an empty value counts as none; an
//! invitation goes to no address that nobody named.
//!
//! Must not know: how an identity is opened.

use clap::Parser;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};
use zeroize::Zeroizing;

/// The variable of the invitation, a secret.
pub(crate) const REGISTER_KEY: &str = "AGENT_CHATHAM_REGISTER_KEY";
const EXIT_AFTER_BOOT: &str = "AGENT_CHATHAM_CODEX_EXIT_AFTER_BOOT";
const FOLDER: &str = ".agent-chatham";
const CONFIG: &str = "config.json";
/// Bytes of a file of settings.
const FILE_BYTES: u64 = 1 << 20;

/// The flags.
#[derive(Debug, Default, Parser)]
#[command(
    name = "plexus-peer",
    version,
    about = "Codex as a member of end-to-end encrypted channels",
    after_help = "Environment: AGENT_CHATHAM_AGENT, AGENT_CHATHAM_REGISTER_KEY, AGENT_CHATHAM_FIRST_NAME, AGENT_CHATHAM_LAST_NAME, \
                  AGENT_CHATHAM_SKILLS, AGENT_CHATHAM_SERVER_URL stand for the flags, in their order.\n\
                  Exit status: 0 ended when asked to, 1 failed, 64 usage. docs/channels/peer.md is the manual."
)]
pub(crate) struct Flags {
    /// Use the identity in this folder below ~/.agent-chatham/agents
    #[arg(long, value_name = "DIR_NAME", conflicts_with = "invitation_key")]
    agent_identity: Option<String>,
    /// Register a new identity; every user of the machine sees a flag, so rather use the variable
    #[arg(long, value_name = "KEY")]
    invitation_key: Option<String>,
    /// Name to register with
    #[arg(long)]
    first_name: Option<String>,
    /// Name to register with
    #[arg(long)]
    last_name: Option<String>,
    /// Skills to register with, separated by commas
    #[arg(long)]
    skills: Option<String>,
    /// Address of the relay to register with; kept in identity.json
    #[arg(long, value_name = "URL")]
    server_url: Option<String>,
}

/// Whose process this is to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IdentityChoice {
    /// The identity of this name.
    Named(String),
    /// The only one.
    Only,
    /// A new one.
    New {
        invitation: Zeroizing<String>,
        first_name: Option<String>,
        last_name: Option<String>,
        skills: Vec<String>,
        server_url: Option<String>,
    },
}

/// Why the process cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error(
        "AGENT_CHATHAM_AGENT and AGENT_CHATHAM_REGISTER_KEY exclude each other\nrun: env -u one of them"
    )]
    Both,
    #[error("there is no home folder\nrun: export HOME=…")]
    NoHome,
    #[error("codex has no login: {}: {why}\nrun: codex login", .file.display())]
    NoLogin { file: PathBuf, why: String },
    #[error("{}: {why}\nrun: repair or remove it", .file.display())]
    Config { file: PathBuf, why: String },
}

/// The variables, by name.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl Flags {
    /// Whose process this is to be, by these flags and the environment.
    pub(crate) fn who(self, environment: Environment<'_>) -> Result<IdentityChoice, SettingsError> {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        let variable = |name: &str| given(environment(name).and_then(|v| v.into_string().ok()));
        let (agent, key) = (given(self.agent_identity), given(self.invitation_key));
        let (agent, key) = match (agent, key) {
            (None, None) => (variable("AGENT_CHATHAM_AGENT"), variable(REGISTER_KEY)),
            by_flag => by_flag,
        };
        let or = |flag: Option<String>, name: &str| given(flag).or_else(|| variable(name));
        match (agent, key) {
            (Some(_), Some(_)) => Err(SettingsError::Both),
            (Some(agent), None) => Ok(IdentityChoice::Named(agent)),
            (None, None) => Ok(IdentityChoice::Only),
            (None, Some(key)) => {
                let skills = or(self.skills, "AGENT_CHATHAM_SKILLS").unwrap_or_default();
                let skills = skills.split(',').map(str::trim);
                Ok(IdentityChoice::New {
                    invitation: key.into(),
                    first_name: or(self.first_name, "AGENT_CHATHAM_FIRST_NAME"),
                    last_name: or(self.last_name, "AGENT_CHATHAM_LAST_NAME"),
                    skills: skills
                        .filter(|skill| !skill.is_empty())
                        .map(str::to_owned)
                        .collect(),
                    server_url: or(self.server_url, "AGENT_CHATHAM_SERVER_URL"),
                })
            }
        }
    }
}

/// Whether the process ends as soon as it is connected.
pub(crate) fn exits_after_boot(environment: Environment<'_>) -> bool {
    environment(EXIT_AFTER_BOOT).is_some_and(|value| value == "1")
}

/// Where identities are kept.
///
/// # Errors
/// Where the user has no home folder.
pub(crate) fn folder(environment: Environment<'_>) -> Result<PathBuf, SettingsError> {
    Ok(home(environment)?.join(FOLDER))
}

/// The address in `config.json`, where there is one.
///
/// # Errors
/// Where the file is there and holds none.
pub(crate) fn configured_address(folder: &Path) -> Result<Option<String>, SettingsError> {
    let file = folder.join(CONFIG);
    let wrong = |why: String| SettingsError::Config {
        file: file.clone(),
        why,
    };
    let bytes = match read(&file) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|why| wrong(why.to_string()))?,
    };
    let config = plexus_protocol::json::parse(&bytes).map_err(|why| wrong(why.to_string()))?;
    let address = config["api_endpoint"].as_str();
    let address = address.ok_or_else(|| wrong("api_endpoint is missing".into()))?;
    Ok(Some(address.to_owned()))
}

/// Holds that somebody has logged in to Codex. Whether the login is valid shows at its first request.
pub(crate) fn check_login(environment: Environment<'_>) -> Result<(), SettingsError> {
    let of_codex = environment("CODEX_HOME").filter(|path| !path.is_empty());
    let folder = match of_codex {
        Some(path) => PathBuf::from(path),
        None => home(environment)?.join(".codex"),
    };
    let file = folder.join("auth.json");
    let why = match read(&file) {
        Err(why) => why.to_string(),
        Ok(bytes) => match plexus_protocol::json::parse(&bytes) {
            Ok(serde_json::Value::Object(login)) if !login.is_empty() => return Ok(()),
            Ok(_) => "it holds no login".to_owned(),
            Err(why) => why.to_string(),
        },
    };
    Err(SettingsError::NoLogin { file, why })
}

fn home(environment: Environment<'_>) -> Result<PathBuf, SettingsError> {
    let home = environment("HOME").filter(|path| !path.is_empty());
    home.map(PathBuf::from).ok_or(SettingsError::NoHome)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(file)?
        .take(FILE_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(flags: &[&str], variables: &[(&str, &str)]) -> Result<IdentityChoice, SettingsError> {
        let flags = Flags::try_parse_from([&["plexus-peer"], flags].concat()).expect("flags");
        flags.who(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn flags_win_over_the_environment() {
        let named = |name: &str| IdentityChoice::Named(name.to_owned());
        let both = [
            ("AGENT_CHATHAM_AGENT", "ada"),
            ("AGENT_CHATHAM_REGISTER_KEY", "k"),
        ];
        assert_eq!(who(&[], &[]).expect("fine"), IdentityChoice::Only);
        assert_eq!(who(&[], &both[..1]).expect("fine"), named("ada"));
        assert_eq!(
            who(&["--agent-identity", "bo"], &both).expect("fine"),
            named("bo")
        );
        assert!(matches!(who(&[], &both), Err(SettingsError::Both)));
        assert_eq!(
            who(&["--agent-identity", ""], &[]).expect("fine"),
            IdentityChoice::Only
        );
        let new = who(
            &["--invitation-key", "i", "--skills", "a, b,,"],
            &[both[0], ("AGENT_CHATHAM_FIRST_NAME", "Ada")],
        );
        let expected = IdentityChoice::New {
            invitation: "i".to_owned().into(),
            first_name: Some("Ada".into()),
            last_name: None,
            skills: vec!["a".into(), "b".into()],
            server_url: None,
        };
        assert_eq!(new.expect("fine"), expected);
        let wrong = [
            "plexus-peer",
            "--agent-identity",
            "a",
            "--invitation-key",
            "b",
        ];
        let refused = Flags::try_parse_from(wrong).err().map(|why| why.kind());
        assert_eq!(refused, Some(clap::error::ErrorKind::ArgumentConflict));
    }

    #[test]
    fn login_is_a_file_with_an_object() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().to_owned();
        let environment = move |name: &str| (name == "HOME").then(|| home.clone().into_os_string());
        fs::create_dir(folder.path().join(".codex")).expect("made");
        let file = folder.path().join(".codex/auth.json");
        for (text, is_login) in [
            ("", false),
            ("{}", false),
            ("[1]", false),
            ("{\"a\":1}", true),
        ] {
            fs::write(&file, text).expect("written");
            assert_eq!(check_login(&environment).is_ok(), is_login, "{text}");
        }
        fs::remove_file(&file).expect("removed");
        let refused = check_login(&environment).expect_err("none").to_string();
        assert!(refused.ends_with("\nrun: codex login"), "{refused}");
    }
}
