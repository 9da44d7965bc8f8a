//! The servers of an MCP client's own configuration (`mcpServers`), as Claude and Cursor keep them: what each would be lent as,
//! and what cannot be lent, with the reason.
//!
//! Invariants: a value that is a secret by its name or its form becomes one, and stands in no reason; a server that has one in
//! its arguments or its URL, or that would be downloaded at each start, is not lent.
//!
//! Must not know: what a server does, how a list is shown.

use crate::{
    extensions::ServerDraft,
    python::{VirtualEnvironment, is_python, module_at, named_modules, started_with},
    secret_texts::{argument_with_secret, holds_secret, is_secret, url_part_with_secret},
};
use plexus_protocol::SourceId;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Programs that fetch what they run, or run it where no sandbox of ours is.
const FETCHERS: [&str; 9] = [
    "npx", "bunx", "pnpx", "pnpm", "yarn", "uvx", "pipx", "uv", "docker",
];

/// A look at the machine that the servers are to run on.
pub trait Places {
    /// A path with every link followed, and whether it is a folder; none where nothing is there.
    fn real(&self, path: &Path) -> Option<(PathBuf, bool)>;
    /// The folders that a shell looks for programs in.
    fn programs(&self) -> Vec<PathBuf>;
}

/// The machine that this process runs on.
#[derive(Clone, Copy, Debug)]
pub struct ThisMachine;

impl Places for ThisMachine {
    fn real(&self, path: &Path) -> Option<(PathBuf, bool)> {
        let real = path.canonicalize().ok()?;
        let is_folder = real.is_dir();
        Some((real, is_folder))
    }
    fn programs(&self) -> Vec<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).collect()
    }
}

/// A server of a client. No `Debug`: it may hold secrets.
pub struct ClientServer {
    /// As the client calls it.
    pub name: String,
    /// As a source.
    pub id: Option<SourceId>,
    /// What it is lent as, or why it cannot be.
    pub offered: Result<Offered, String>,
}

/// A server as it would be lent. No `Debug`: it holds secrets.
#[derive(Default)]
pub struct Offered {
    /// Its program and arguments.
    pub program: Option<(String, Vec<String>)>,
    /// The URL of one that no worker starts.
    pub url: Option<String>,
    /// Its variables.
    pub environment: BTreeMap<String, String>,
    /// Its secrets, by name.
    pub secrets: BTreeMap<String, String>,
    /// Folders that its arguments name: it reads them, and changes them in a call that is approved.
    pub folders: Vec<PathBuf>,
    /// The folder of its script, and its modules.
    pub code: Vec<PathBuf>,
    /// Of these, the modules that its client names to Python: it does not start without, whatever else is code of it.
    pub modules: Vec<PathBuf>,
}

/// The servers of a client's configuration: the members of `mcpServers` or `servers`, and those that Claude Code keeps for one
/// folder (`projects.FOLDER.mcpServers`). None where it has no such list.
#[must_use]
pub fn servers_of(configuration: &Value, places: &dyn Places) -> Option<Vec<ClientServer>> {
    let lists = ["mcpServers", "servers"];
    let own = lists
        .iter()
        .find_map(|list| configuration.get(list)?.as_object());
    let projects = configuration["projects"].as_object().into_iter().flatten();
    let of_folders = projects.filter_map(|(_, project)| project["mcpServers"].as_object());
    let servers: Vec<_> = own.into_iter().chain(of_folders).collect();
    if servers.is_empty() {
        return None;
    }
    let mut taken = BTreeSet::new();
    let server = |(name, server): (&String, &Value)| {
        let id = id_of(name);
        let offered = match &id {
            Some(id) if taken.insert(id.clone()) => Offered::of(server, places),
            Some(id) => Err(format!("another one of the list is {id}: add it by hand")),
            None => Err("its name makes no id: add it by hand".to_owned()),
        };
        ClientServer {
            name: name.clone(),
            id,
            offered,
        }
    };
    Some(servers.into_iter().flatten().map(server).collect())
}

/// A name as the id of a source.
fn id_of(name: &str) -> Option<SourceId> {
    let plain = |c: char| match c {
        'a'..='z' | '0'..='9' => c,
        'A'..='Z' => c.to_ascii_lowercase(),
        _ => '-',
    };
    let id: String = name.chars().map(plain).collect();
    SourceId::parse(id.trim_matches('-')).ok()
}

impl Offered {
    /// As what `server`, a member of a client's list, would be lent.
    fn of(server: &Value, places: &dyn Places) -> Result<Self, String> {
        let texts = |member: &str| -> Result<BTreeMap<String, String>, String> {
            let members = server[member].as_object().into_iter().flatten();
            members
                .map(|(name, value)| match value.as_str() {
                    Some(value) if value.contains("${") => Err(format!(
                        "{name} names a variable, which only its client knows: add it by hand"
                    )),
                    Some(value) => Ok((name.clone(), value.to_owned())),
                    None => Err(format!("{name} is no text")),
                })
                .collect()
        };
        if let Some(url) = server["url"]
            .as_str()
            .or_else(|| server["serverUrl"].as_str())
        {
            if server["type"] == "sse" {
                return Err(
                    "it speaks HTTP with two endpoints, which was given up in 2025".to_owned(),
                );
            }
            if let Some(part) = url_part_with_secret(url) {
                return Err(format!(
                    "{part} looks like a secret, which a URL does not keep; if the server takes it as a header: plexusctl mcp add NAME --url URL --secret authorization"
                ));
            }
            let mut secrets = BTreeMap::new();
            for (name, value) in texts("headers")? {
                let name = name.to_ascii_lowercase();
                let value = match name == "authorization" {
                    true => value.strip_prefix("Bearer ").map(str::to_owned),
                    false => Some(value),
                };
                let value = value.ok_or("its Authorization is no bearer token")?;
                secrets.insert(name, value);
            }
            if secrets.len() > 1 {
                return Err("it needs more than one header, and one is added for a URL".to_owned());
            }
            return Ok(Self {
                url: Some(url.to_owned()),
                secrets,
                ..Self::default()
            });
        }
        let command = server["command"]
            .as_str()
            .ok_or("it has neither a command nor a url")?;
        let name = Path::new(command)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let list = server["args"].as_array().into_iter().flatten();
        let mut arguments: Vec<String> =
            list.filter_map(Value::as_str).map(str::to_owned).collect();
        let start = match server["cwd"].as_str() {
            Some(start) => Some(folder(start, places).ok_or_else(|| {
                format!("{start}, where its client starts it, is no folder with an absolute path")
            })?),
            None => None,
        };
        if FETCHERS.contains(&&*name) {
            return Err(fetched(&name, &arguments));
        }
        let program = found(command, start.as_deref(), places).ok_or_else(|| {
            match command.contains(char::is_whitespace) {
                // A whole line may hold a secret.
                true => {
                    "its command is a line; put the program alone there, and the rest into args"
                        .to_owned()
                }
                false => format!("there is no program {command}"),
            }
        })?;
        if let Some(argument) = argument_with_secret(&arguments) {
            return Err(format!(
                "{argument} looks like a secret, and every user can read a command line; if the server takes it as a variable: plexusctl mcp add NAME --secret VARIABLE -- PROGRAM"
            ));
        }
        let (secrets, mut environment): (_, BTreeMap<_, _>) = texts("env")?
            .into_iter()
            .partition(|(name, value)| is_secret(name) || holds_secret(value));
        let real = places
            .real(&program)
            .map_or(program.clone(), |(real, _)| real);
        let is_python = is_python(&real);
        let module = is_python.then(|| module_at(&arguments)).flatten();
        if let Some(start) = &start {
            // It starts elsewhere here: what lies there is named whole. A word without `/` names a folder by chance.
            for (at, argument) in arguments.iter_mut().enumerate() {
                let is_word =
                    argument.is_empty() || argument.starts_with('-') || Some(at) == module;
                let named = (!is_word)
                    .then(|| places.real(&start.join(&*argument)))
                    .flatten();
                let is_path = argument.contains('/') || argument == ".";
                if let Some((path, is_folder)) = named
                    && (is_path || !is_folder)
                {
                    *argument = path.display().to_string();
                }
            }
        }
        let (folders, mut code) = named(&arguments, places);
        let of_venv = VirtualEnvironment::of(&program, places)?;
        let program = real;
        let mut modules = Vec::new();
        if is_python {
            let beside = start.clone().unwrap_or_default();
            modules = named_modules(&mut environment, &beside, places)?;
            if module.is_some() {
                modules.splice(..0, start);
            }
            if of_venv.is_some() || !modules.is_empty() {
                arguments = started_with(&arguments, &modules, of_venv.as_ref())?;
            }
            modules.extend(of_venv.iter().flat_map(|venv| venv.code().cloned()));
            code.extend_from_slice(&modules);
        }
        // One that lies in another is pinned with that.
        code.sort();
        code.dedup_by(|inner, outer| inner.starts_with(&*outer));
        Ok(Self {
            program: Some((program.display().to_string(), arguments)),
            environment,
            secrets,
            folders,
            code,
            modules,
            ..Self::default()
        })
    }

    /// The request that lends it, as `name`.
    ///
    /// # Errors
    /// A folder whose name is no text.
    pub fn draft(&self, name: SourceId) -> Result<ServerDraft, String> {
        let texts = |all: &[PathBuf]| -> Result<Vec<String>, String> {
            let text = |path: &PathBuf| {
                let text = path.to_str().map(str::to_owned);
                text.ok_or_else(|| format!("{} is not UTF-8", path.display()))
            };
            all.iter().map(text).collect()
        };
        let program = self.program.clone();
        let (program, arguments) = program.map_or((None, Vec::new()), |(p, args)| (Some(p), args));
        Ok(ServerDraft {
            name,
            label: None,
            program,
            url: self.url.clone(),
            arguments,
            environment: self.environment.clone(),
            secrets: self.secrets.clone(),
            folders: texts(&self.folders)?,
            code: texts(&self.code)?,
            hosts: Vec::new(),
            sign_in: None,
            ca: None,
            reads: BTreeSet::new(),
        })
    }
}

/// Why a server that is downloaded at each start is not lent, with the command that installs it.
fn fetched(fetcher: &str, arguments: &[String]) -> String {
    let mut words = arguments.iter().map(String::as_str);
    let mut words = words
        .by_ref()
        .filter(|word| !matches!(*word, "-y" | "--yes"));
    let named = match words.next() {
        Some("run") if fetcher == "pipx" => words.next(),
        first => first,
    };
    // An option may have a value, which is no package.
    let named = named.filter(|word| !word.starts_with('-'));
    if named.is_some_and(|word| word.split('@').next() == Some("mcp-remote")) {
        return "it leads to a server at a URL: plexusctl mcp add NAME --url URL".to_owned();
    }
    let from = match fetcher {
        "npx" | "bunx" | "pnpx" => "npm:",
        "uvx" | "pipx" => "pypi:",
        _ => {
            return format!(
                "{fetcher} starts other programs, which no sandbox of a server lets it"
            );
        }
    };
    let named = named.unwrap_or("PACKAGE");
    let (at, version) = match from {
        "npm:" => ('@', "@VERSION"),
        _ => ('=', "==VERSION"),
    };
    let cut = named.char_indices().skip(1).find(|(_, c)| *c == at);
    let (package, given) = named.split_at(cut.map_or(named.len(), |(at, _)| at));
    let is_exact = given
        .trim_start_matches(at)
        .starts_with(|c: char| c.is_ascii_digit());
    let version = if is_exact { given } else { version };
    format!(
        "{fetcher} downloads it at each start; install it once: plexusctl mcp install NAME {from}{package}{version}"
    )
}

/// A folder with an absolute path.
pub(crate) fn folder(path: &str, places: &dyn Places) -> Option<PathBuf> {
    let path = Path::new(path);
    let real = path.is_absolute().then(|| places.real(path))?;
    real.filter(|(_, is_folder)| *is_folder)
        .map(|(path, _)| path)
}

/// The program of a command, as a shell would find it in the folder `start`; a link is not followed.
fn found(command: &str, start: Option<&Path>, places: &dyn Places) -> Option<PathBuf> {
    let named = Path::new(command);
    let all = match named.is_absolute() {
        true => vec![named.to_owned()],
        false if command.contains('/') => {
            start.map(|start| start.join(named)).into_iter().collect()
        }
        false => {
            let folders = places.programs().into_iter();
            folders.map(|folder| folder.join(command)).collect()
        }
    };
    let is_program = |place: &&PathBuf| matches!(places.real(place), Some((_, false)));
    all.iter().find(is_program).cloned()
}

/// The folders that arguments name: those that it may change, and that of its script.
fn named(arguments: &[String], places: &dyn Places) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let real = |argument: &String| {
        let path = Path::new(argument);
        path.is_absolute().then(|| places.real(path))?
    };
    let paths = arguments.iter().filter_map(real);
    let (folders, files): (Vec<_>, Vec<_>) = paths.partition(|(_, is_folder)| *is_folder);
    let is_file = |path: &Path| matches!(places.real(path), Some((_, false)));
    let of_script = files.first().and_then(|(script, _)| {
        let mut above = script.ancestors().skip(1);
        let packages = script
            .ancestors()
            .find(|folder| folder.ends_with("node_modules"));
        let own = above.find(|folder| {
            let marks = ["package.json", "pyproject.toml"];
            marks.iter().any(|mark| is_file(&folder.join(mark)))
        });
        packages
            .or(own)
            .or_else(|| script.parent())
            .map(Path::to_owned)
    });
    (
        folders.into_iter().map(|(path, _)| path).collect(),
        of_script.into_iter().collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A virtual environment, with a link to the system's interpreter, and a project.
    struct Project;

    impl Places for Project {
        fn real(&self, path: &Path) -> Option<(PathBuf, bool)> {
            let text = path.to_str()?.replace("/./", "/");
            let real = match &*text {
                "/p/.venv/bin/python" => "/usr/bin/python3.13",
                "/q/bin/python" => "/opt/py/bin/python3.13",
                other => other,
            };
            let folders = [
                "/p",
                "/p/lib",
                "/p/.venv/lib/python3.13",
                "/q/lib/python3.13",
                "/opt/py/lib/python3.13",
            ];
            let files = [
                "/usr/bin/python3.13",
                "/opt/py/bin/python3.13",
                "/p/.venv/pyvenv.cfg",
                "/q/pyvenv.cfg",
                "/p/server.py",
            ];
            let is_folder = folders.contains(&real);
            (is_folder || files.contains(&real)).then(|| (real.into(), is_folder))
        }
        fn programs(&self) -> Vec<PathBuf> {
            Vec::new()
        }
    }

    #[test]
    fn python_of_a_project_is_lent_as_its_person_starts_it() {
        let of = |server: Value| Offered::of(&server, &Project);
        let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
        let site = "/p/.venv/lib/python3.13/site-packages";
        let script = of(json!({
            "command": ".venv/bin/python", "args": ["server.py", "-v"], "cwd": "/p",
        }));
        let script = script.ok().unwrap();
        let (program, arguments) = script.program.unwrap();
        assert_eq!(program, "/usr/bin/python3.13");
        assert_eq!(arguments[3..], ["", site, "/p/server.py", "-v"]);
        assert_eq!(
            script.code,
            paths(&["/p"]),
            "what lies in it is pinned with it"
        );
        let module = of(json!({
            "command": "/p/.venv/bin/python", "args": ["-m", "notes"], "cwd": "/p",
            "env": {"PYTHONPATH": "lib"},
        }));
        let module = module.ok().unwrap();
        let (_, arguments) = module.program.clone().unwrap();
        assert_eq!(arguments[3..], ["/p:/p/lib", site, "-m", "notes"]);
        assert!(module.environment.is_empty());
        // Other code that its person names goes beside its modules.
        let mut draft = module.draft(SourceId::parse("notes").unwrap()).unwrap();
        assert_eq!(draft.code, ["/p"]);
        draft.code = vec!["/elsewhere".to_owned(), "/p/lib".to_owned()];
        draft.add_code(&module.modules).unwrap();
        assert_eq!(draft.code, ["/elsewhere", "/p"]);
        let other = of(json!({"command": "/q/bin/python", "args": ["-m", "notes"]}));
        let other = other.ok().unwrap();
        assert_eq!(other.program.unwrap().0, "/opt/py/bin/python3.13");
        assert_eq!(
            other.code,
            paths(&["/opt/py/lib/python3.13", "/q/lib/python3.13/site-packages"])
        );
        #[rustfmt::skip]
        let rows = [
            (json!({"command": ".venv/bin/python", "args": []}), "there is no program"),
            (json!({"command": "/p/.venv/bin/python", "cwd": "p"}), "no folder with an absolute path"),
            (json!({"command": "/p/.venv/bin/python", "env": {"PYTHONPATH": "lib"}}), "no folder with an absolute path"),
        ];
        for (server, says) in rows {
            let why = of(server.clone()).err().unwrap();
            assert!(why.contains(says), "{server}: {why}");
        }
    }

    struct Machine;

    impl Places for Machine {
        fn real(&self, path: &Path) -> Option<(PathBuf, bool)> {
            let is_folder = path == Path::new("/usr");
            let is_there = is_folder || path == Path::new("/usr/bin/env");
            is_there.then(|| (path.to_owned(), is_folder))
        }
        fn programs(&self) -> Vec<PathBuf> {
            vec!["/usr/bin".into()]
        }
    }

    #[test]
    fn servers_of_one_folder_are_found_too() {
        let names = |configuration: Value| {
            let found = servers_of(&configuration, &Machine)?;
            Some(
                found
                    .into_iter()
                    .map(|server| server.name)
                    .collect::<Vec<_>>(),
            )
        };
        let server = json!({"command": "env"});
        let of_folder = json!({"/p": {"mcpServers": {"b": server}}, "/q": {"other": 1}});
        let all = json!({"mcpServers": {"a": server}, "projects": of_folder});
        assert_eq!(names(all), Some(vec!["a".into(), "b".into()]));
        assert_eq!(
            names(json!({"projects": of_folder})),
            Some(vec!["b".into()])
        );
        assert_eq!(names(json!({"projects": {"/q": {}}})), None);
    }

    #[test]
    fn servers_of_a_client_are_read_as_they_can_be_lent() {
        let of = |server: Value| Offered::of(&server, &Machine);
        let url = of(
            json!({"url": "https://a.example/mcp", "headers": {"Authorization": "Bearer hush"}}),
        );
        let url = url.ok().unwrap();
        assert_eq!(url.secrets["authorization"], "hush");
        let program = of(json!({
            "command": "env", "args": ["/usr", "--flag"], "env": {"API_KEY": "hush", "LEVEL": "1"},
        }));
        let program = program.ok().unwrap();
        assert_eq!(program.folders, [PathBuf::from("/usr")]);
        assert!(
            program.secrets.contains_key("API_KEY") && program.environment.contains_key("LEVEL")
        );
        #[rustfmt::skip]
        let rows = [
            (json!({"command": "npx", "args": ["-y", "@a/b"]}), "mcp install NAME npm:@a/b@VERSION"),
            (json!({"command": "uvx", "args": ["b"]}), "mcp install NAME pypi:b==VERSION"),
            (json!({"command": "docker", "args": ["run"]}), "starts other programs"),
            (json!({"command": "no-such-program"}), "there is no program"),
            (json!({"url": "https://a.example", "type": "sse"}), "two endpoints"),
            (json!({"url": "https://a.example", "headers": {"A": "1", "B": "2"}}), "more than one header"),
            (json!({"command": "env", "env": {"KEY": "${KEY}"}}), "only its client knows"),
        ];
        for (server, says) in rows {
            let why = of(server.clone()).err().unwrap();
            assert!(why.contains(says), "{server}: {why}");
        }
        assert_eq!(id_of("My Server").unwrap().as_str(), "my-server");
    }
}
