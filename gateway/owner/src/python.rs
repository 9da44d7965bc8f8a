//! A server in Python as its person starts it: from a virtual environment, with modules beside it.
//!
//! A virtual environment is a link to an interpreter, which finds its modules by the link, and by variables. Here a program is
//! its file, and no variable names code: where its modules are stands in its arguments, and each is a folder of code.
//!
//! Must not know: what a server does, how it is lent.

use crate::client_servers::Places;
use std::path::{Path, PathBuf};

/// Names folders of modules to Python.
pub const PYTHON_PATH: &str = "PYTHONPATH";
/// Starts a script, or a module by `-m`, with the modules of the first argument before Python's own and those of the second
/// after them, each with `:` between two.
const START: &str = "import os.path, runpy, sys; a = sys.argv; sys.path[:1] = filter(None, a[1].split(':')); sys.path.extend(filter(None, a[2].split(':'))); del a[:3]; runpy.run_module((a.pop(0), a[0])[1], run_name='__main__', alter_sys=True) if a[0] == '-m' else (sys.path.insert(0, os.path.dirname(a[0])), runpy.run_path(a[0], run_name='__main__'))";

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

/// The arguments of an interpreter that starts what `arguments` start, with the modules of `before` and of a virtual environment.
///
/// # Errors
/// They start neither a script nor a module.
pub fn started_with(
    arguments: &[String],
    before: &[PathBuf],
    environment: Option<&VirtualEnvironment>,
) -> Result<Vec<String>, String> {
    let mut words = arguments.iter();
    let mut started = Vec::new();
    let what = loop {
        match words.next() {
            Some(option) if matches!(&**option, "-X" | "-W") => {
                started.push(option.clone());
                started.extend(words.next().cloned());
            }
            Some(option) if option.starts_with('-') && option != "-m" && option != "-c" => {
                started.push(option.clone());
            }
            Some(what) if what != "-c" => break what,
            Some(_) | None => {
                return Err("name a script, or a module by -m, for its Python".to_owned());
            }
        }
    };
    let named = |all: &mut dyn Iterator<Item = &PathBuf>| {
        let all: Vec<_> = all.map(|path| path.display().to_string()).collect();
        all.join(":")
    };
    started.extend(["-c".to_owned(), START.to_owned()]);
    started.push(named(&mut before.iter()));
    started.push(named(&mut environment.iter().map(|venv| &venv.site)));
    started.push(what.clone());
    started.extend(words.cloned());
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
        assert_eq!(told[..4], ["-u", "-X", "dev", "-c"]);
        assert_eq!(told[5..], ["/a:/b", "", "-m", "notes", "-c", "x"]);
        assert_eq!(of("s.py -v").unwrap()[2..], ["/a:/b", "", "s.py", "-v"][..]);
        for odd in ["-u", "-c pass"] {
            assert!(of(odd).is_err(), "{odd}");
        }
    }
}
