//! A server in Python as its person starts it: from a virtual environment, with modules beside it.
//!
//! A virtual environment is a link to an interpreter, which finds its modules by the link, and by variables. Here a program is
//! its file, and no variable names code: where its modules are stands in its arguments, and each is a folder of code.
//!
//! Must not know: what a server does, how it is lent.

use crate::client_servers::{Places, folder};
use plexus_protocol::PYTHON_START;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names folders of modules to Python.
const PYTHON_PATH: &str = "PYTHONPATH";
/// Python's option by which modules of the person's home are none, whatever its other options are: here the server writes its
/// home.
const NO_USER_SITE: &str = "-s";

/// The program of a virtual environment.
#[derive(Debug, PartialEq, Eq)]
pub struct VirtualEnvironment {
    /// The interpreter that it leads to.
    pub program: PathBuf,
    /// Its modules.
    site: PathBuf,
    /// The interpreter's own modules, where a server's sandbox does not have them.
    own: Option<PathBuf>,
}

impl VirtualEnvironment {
    /// The one that `program` is of; none where it is of none.
    ///
    /// # Errors
    /// Its modules are not where they should be.
    pub fn of(program: &Path, places: &dyn Places) -> Result<Option<Self>, String> {
        let folder = program.parent().and_then(Path::parent);
        let marked = folder.filter(|folder| places.real(&folder.join("pyvenv.cfg")).is_some());
        let (Some(folder), Some((interpreter, false))) = (marked, places.real(program)) else {
            return Ok(None);
        };
        let version = interpreter.file_name().and_then(|name| name.to_str());
        let version = version.filter(|name| name.starts_with("python3."));
        let modules = |root: &Path| {
            let modules = root.join("lib").join(version?);
            let (modules, is_folder) = places.real(&modules)?;
            is_folder.then_some(modules)
        };
        let site = modules(folder).map(|modules| modules.join("site-packages"));
        let site = site.ok_or_else(|| {
            format!(
                "{} is of a virtual environment whose modules are not found",
                program.display()
            )
        })?;
        let of_the_system = ["/usr/lib", "/usr/local", "/usr/bin"];
        let is_systems = |path: &Path| of_the_system.iter().any(|system| path.starts_with(system));
        let root = interpreter.parent().and_then(Path::parent);
        let own = root.filter(|_| !is_systems(&interpreter)).and_then(modules);
        Ok(Some(Self {
            program: interpreter.clone(),
            site,
            own,
        }))
    }

    /// The folders that are code of a server in it.
    pub fn code(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.site].into_iter().chain(&self.own)
    }
}

/// Whether a program is Python, by its name.
#[must_use]
pub fn is_python(program: &Path) -> bool {
    let name = program.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix("python"))
        .is_some_and(|version| version.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

/// Takes the folders of modules that `PYTHONPATH` names out of the variables; relative ones lie in `start`.
///
/// # Errors
/// One is no folder with an absolute path.
pub fn named_modules(
    environment: &mut BTreeMap<String, String>,
    start: &Path,
    places: &dyn Places,
) -> Result<Vec<PathBuf>, String> {
    let named = environment.remove(PYTHON_PATH).unwrap_or_default();
    let parts = named.split(':').filter(|part| !part.is_empty());
    let folders = parts.map(|part| {
        let place = folder(&start.join(part).to_string_lossy(), places);
        place.ok_or_else(|| {
            format!("{PYTHON_PATH} names {part}, which is no folder with an absolute path")
        })
    });
    folders.collect()
}

/// A line of arguments of Python, taken apart.
struct PythonLine<'a> {
    options: Vec<String>,
    /// What is started: a script, or a module.
    module: Option<String>,
    rest: &'a [String],
}

/// Takes a line apart.
///
/// # Errors
/// It starts neither a script nor a module, or says so among other options.
fn apart(arguments: &[String]) -> Result<PythonLine<'_>, String> {
    let neither = || "name a script, or a module by -m, for its Python".to_owned();
    let mut options = Vec::new();
    let mut at = 0;
    loop {
        let word = arguments.get(at).ok_or_else(neither)?;
        at += 1;
        match &**word {
            "-m" => {
                let module = arguments.get(at).cloned().ok_or_else(neither)?;
                let (module, rest) = (Some(module), &arguments[at + 1..]);
                return Ok(PythonLine {
                    options,
                    module,
                    rest,
                });
            }
            "-c" | "-" => return Err(neither()),
            "-X" | "-W" => {
                options.push(word.clone());
                options.extend(arguments.get(at).cloned());
                at += 1;
            }
            // A value is joined to it.
            option
                if ["-X", "-W", "--"]
                    .iter()
                    .any(|begins| option.starts_with(begins)) =>
            {
                options.push(word.clone());
            }
            option if option.starts_with('-') && option.contains(['m', 'c']) => {
                return Err(format!(
                    "write {option} as single options, and -m by itself"
                ));
            }
            option if option.starts_with('-') => options.push(word.clone()),
            _ => {
                let (module, rest) = (None, &arguments[at - 1..]);
                return Ok(PythonLine {
                    options,
                    module,
                    rest,
                });
            }
        }
    }
}

/// Where the module that a line of Python starts stands in it; none where it starts none.
#[must_use]
pub fn module_at(arguments: &[String]) -> Option<usize> {
    let line = apart(arguments).ok()?;
    line.module.map(|_| arguments.len() - line.rest.len() - 1)
}

/// The arguments of an interpreter that starts what `arguments` start, with the modules of `before` and of a virtual environment.
///
/// # Errors
/// They start neither a script nor a module.
pub fn started_with(
    arguments: &[String],
    before: &[PathBuf],
    environment: Option<&VirtualEnvironment>,
) -> Result<Vec<String>, String> {
    let line = apart(arguments)?;
    let named = |all: &mut dyn Iterator<Item = &PathBuf>| {
        let all: Vec<_> = all.map(|path| path.display().to_string()).collect();
        all.join(":")
    };
    let mut started = line.options;
    started.extend([NO_USER_SITE, "-c", PYTHON_START].map(str::to_owned));
    started.push(named(&mut before.iter()));
    started.push(named(&mut environment.iter().map(|venv| &venv.site)));
    if let Some(module) = line.module {
        started.extend(["-m".to_owned(), module]);
    }
    started.extend_from_slice(line.rest);
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stay_before_what_is_started() {
        let of = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            started_with(&words, &["/a".into(), "/b".into()], None)
        };
        let told = of("-u -X dev -m notes -c x").unwrap();
        assert_eq!(told[..5], ["-u", "-X", "dev", "-s", "-c"]);
        assert_eq!(told[6..], ["/a:/b", "", "-m", "notes", "-c", "x"]);
        let told = of("s.py -v").unwrap();
        assert_eq!(told[3..], ["/a:/b", "", "s.py", "-v"]);
        for odd in ["-u", "-c pass", "-m", "-"] {
            let why = "name a script, or a module by -m, for its Python";
            assert_eq!(of(odd), Err(why.to_owned()), "{odd}");
        }
        for odd in ["-cpass", "-mnotes", "-um notes"] {
            let option = odd.split(' ').next().unwrap();
            let why = format!("write {option} as single options, and -m by itself");
            assert_eq!(of(odd), Err(why));
        }
    }

    #[test]
    fn module_is_what_is_started_and_no_argument_of_it() {
        let of = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            module_at(&words)
        };
        assert_eq!(of("-u -m notes"), Some(2));
        assert_eq!(of("-Ximporttime -m notes x -m y"), Some(2));
        assert_eq!(of("s.py -m notes"), None);
    }
}
