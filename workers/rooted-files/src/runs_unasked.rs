//! The one list of paths whose content is executed, or read as configuration that executes, *without being asked*: by
//! opening a folder in an editor, entering it in a shell, running an everyday command such as `git status`, starting
//! an agent, logging in, or pushing. Writing there is running code later, so such a write is rated `execute`.
//!
//! Not on it: what runs only when somebody runs it by name (scripts, sources, container files). The owner sees those
//! as the writes they are; a file that is marked as executable, or becomes so, is rated by its mode. On it in case of doubt: asking once too often is cheap.
//!
//! Components are compared as a careless file system would: without case, in NFC, without what folding file systems, HFS+
//! and FAT ignore.

use std::path::Path;

use crate::{RelPath, names::fold_for_guard};

/// Folders: everything at or below one of this name, also where the source's root itself lies in it.
#[rustfmt::skip]
const FOLDERS: &[(&str, &str)] = &[
    // Hooks, and configuration that names programs (fsmonitor, filters, pagers), run by `git status`.
    (".git", "git runs hooks and programs named there"),
    (".githooks", "git runs hooks kept there"),
    (".lefthook", "git runs hooks kept there"),
    (".husky", "git runs hooks kept there"),
    (".hg", "Mercurial runs hooks named there"),
    (".svn", "Subversion reads its state there"),
    (".jj", "Jujutsu reads configuration there"),
    // Editors start tasks, language servers and extensions on opening the folder.
    (".vscode", "editors run what is configured there"),
    (".vscode-server", "editors run what lies there"),
    (".idea", "editors run what is configured there"),
    (".fleet", "editors run what is configured there"),
    (".zed", "editors run what is configured there"),
    (".cursor", "editors and agents follow what is written there"),
    (".windsurf", "editors and agents follow what is written there"),
    (".devcontainer", "editors run what is configured there"),
    (".vim", "editors run what lies there"),
    (".nvim", "editors run what lies there"),
    (".emacs.d", "editors run what lies there"),
    // A vault's plugins are programs that Obsidian runs on opening it.
    (".obsidian", "Obsidian runs plugins that lie there"),
    // Agents take instructions, hooks and tool servers from these.
    (".claude", "agents follow and run what is configured there"),
    (".claude-plugin", "agents follow and run what is configured there"),
    (".codex", "agents follow and run what is configured there"),
    (".agents", "agents follow and run what is configured there"),
    (".gemini", "agents follow and run what is configured there"),
    (".aider", "agents follow and run what is configured there"),
    (".continue", "agents follow and run what is configured there"),
    (".roo", "agents follow and run what is configured there"),
    (".clinerules", "agents follow what is written there"),
    (".kiro", "agents follow and run what is configured there"),
    (".opencode", "agents follow and run what is configured there"),
    (".amazonq", "agents follow and run what is configured there"),
    (".qwen", "agents follow and run what is configured there"),
    (".crush", "agents follow and run what is configured there"),
    (".kilocode", "agents follow and run what is configured there"),
    (".augment", "agents follow what is written there"),
    (".junie", "agents follow what is written there"),
    (".trae", "agents follow what is written there"),
    (".plexus", "Plexus keeps its state there"),
    // Pushed, these run on other machines with their secrets.
    (".github", "pushed workflows run from there"),
    (".gitlab", "pushed pipelines run from there"),
    (".gitea", "pushed workflows run from there"),
    (".forgejo", "pushed workflows run from there"),
    (".circleci", "pushed pipelines run from there"),
    (".buildkite", "pushed pipelines run from there"),
    // Build tools that editors start by themselves, and what they load.
    (".cargo", "cargo runs programs named there"),
    (".mvn", "Maven loads code named there"),
    (".gradle", "Gradle loads code kept there"),
    (".bundle", "Bundler loads code named there"),
    (".yarn", "Yarn runs releases and plugins kept there"),
    (".direnv", "shells run what lies there"),
    (".mise", "shells run what is configured there"),
    ("node_modules", "editors and tools run code that lies there"),
    ("site-packages", "every Python start may load code that lies there"),
    (".venv", "editors run the interpreter that lies there"),
    ("venv", "editors run the interpreter that lies there"),
    // The owner's account.
    (".ssh", "logins are configured there"),
    (".aws", "programs are configured there"),
    (".kube", "programs are configured there"),
    (".docker", "programs are configured there"),
    (".gnupg", "programs are configured there"),
    (".config", "programs are configured there"),
    (".local", "programs are found there"),
    (".bashrc.d", "shells run what lies there"),
    (".zsh", "shells run what lies there"),
    (".ipython", "every IPython start runs what lies there"),
    (".jupyter", "Jupyter runs what is configured there"),
    (".hammerspoon", "Hammerspoon runs what lies there"),
    ("launchagents", "macOS starts what is listed there"),
    ("launchdaemons", "macOS starts what is listed there"),
    ("autostart", "desktops start what is listed there"),
    ("systemd", "systemd starts what is listed there"),
];

const AGENTS: &str = "agents follow what is written there";
const SHELLS: &str = "shells run it";
const EDITORS: &str = "editors run it or what it names on opening the folder";
const GIT: &str = "git runs programs named there";
const PIPELINES: &str = "pushed pipelines run from it";
const PACKAGES: &str = "package tools run what it names";

/// Files of this name, anywhere.
const NAMES: &[(&str, &str)] = &[
    ("claude.md", AGENTS),
    ("claude.local.md", AGENTS),
    ("agents.md", AGENTS),
    ("agents.override.md", AGENTS),
    ("agent.md", AGENTS),
    ("gemini.md", AGENTS),
    ("skill.md", AGENTS),
    ("copilot-instructions.md", AGENTS),
    (".cursorrules", AGENTS),
    (".windsurfrules", AGENTS),
    (".roorules", AGENTS),
    (".mcp.json", "agents start the servers named there"),
    (
        ".claude.json",
        "agents follow and run what is configured there",
    ),
    (".aider.conf.yml", AGENTS),
    ("qwen.md", AGENTS),
    ("warp.md", AGENTS),
    ("crush.md", AGENTS),
    ("crush.json", AGENTS),
    ("opencode.json", AGENTS),
    ("opencode.jsonc", AGENTS),
    (".goosehints", AGENTS),
    // Shells, on entering the folder or starting.
    (".envrc", SHELLS),
    (".env", "tools take their environment from it"),
    (".tool-versions", SHELLS),
    (".bashrc", SHELLS),
    (".bash_profile", SHELLS),
    (".bash_login", SHELLS),
    (".bash_logout", SHELLS),
    (".bash_aliases", SHELLS),
    (".profile", SHELLS),
    (".zshrc", SHELLS),
    (".zshenv", SHELLS),
    (".zprofile", SHELLS),
    (".zlogin", SHELLS),
    (".zlogout", SHELLS),
    (".kshrc", SHELLS),
    (".cshrc", SHELLS),
    (".tcshrc", SHELLS),
    (".login", SHELLS),
    (".inputrc", SHELLS),
    (".xprofile", SHELLS),
    (".xinitrc", SHELLS),
    (".pam_environment", SHELLS),
    ("config.fish", SHELLS),
    // git.
    (".gitconfig", GIT),
    (".gitattributes", GIT),
    (".gitmodules", GIT),
    (".hgrc", GIT),
    // With `HEAD` in it, a folder passes for a repository whose `config` names programs.
    ("head", GIT),
    (".pre-commit-config.yaml", GIT),
    // Editors and debuggers.
    (".lvimrc", EDITORS),
    (".local.vimrc", EDITORS),
    (".nvim.lua", EDITORS),
    (".emacs", EDITORS),
    (".dir-locals.el", EDITORS),
    (".gdbinit", "debuggers run it"),
    (".lldbinit", "debuggers run it"),
    // Project files whose code editors run to understand the project.
    ("build.rs", EDITORS),
    ("cargo.toml", EDITORS),
    ("go.mod", EDITORS),
    ("go.work", EDITORS),
    ("deno.json", EDITORS),
    ("deno.jsonc", EDITORS),
    ("composer.json", EDITORS),
    ("rust-toolchain", EDITORS),
    ("rust-toolchain.toml", EDITORS),
    ("package.json", EDITORS),
    ("jsconfig.json", EDITORS),
    ("tsconfig.json", EDITORS),
    ("makefile", EDITORS),
    ("gnumakefile", EDITORS),
    ("cmakelists.txt", EDITORS),
    ("cmakepresets.json", EDITORS),
    ("meson.build", EDITORS),
    ("build.gradle", EDITORS),
    ("build.gradle.kts", EDITORS),
    ("settings.gradle", EDITORS),
    ("settings.gradle.kts", EDITORS),
    ("gradle.properties", EDITORS),
    ("gradle-wrapper.properties", EDITORS),
    ("pom.xml", EDITORS),
    ("build.sbt", EDITORS),
    ("gemfile", EDITORS),
    ("mix.exs", EDITORS),
    ("setup.py", EDITORS),
    ("setup.cfg", EDITORS),
    ("pyproject.toml", EDITORS),
    ("tox.ini", EDITORS),
    ("conftest.py", EDITORS),
    ("pytest.ini", EDITORS),
    ("noxfile.py", EDITORS),
    (".pylintrc", EDITORS),
    ("pylintrc", EDITORS),
    (".flake8", EDITORS),
    (".rspec", EDITORS),
    (".simplecov", EDITORS),
    (".solargraph.yml", EDITORS),
    (".swcrc", EDITORS),
    ("package.swift", EDITORS),
    ("directory.build.props", EDITORS),
    ("directory.build.targets", EDITORS),
    ("flake.nix", SHELLS),
    ("shell.nix", SHELLS),
    ("default.nix", SHELLS),
    ("sitecustomize.py", "every Python start loads it"),
    ("usercustomize.py", "every Python start loads it"),
    // Package tools.
    (".npmrc", PACKAGES),
    (".yarnrc", PACKAGES),
    (".yarnrc.yml", PACKAGES),
    (".pnpmfile.cjs", PACKAGES),
    ("pnpm-workspace.yaml", PACKAGES),
    (".pnp.cjs", PACKAGES),
    ("bunfig.toml", PACKAGES),
    ("pip.conf", PACKAGES),
    (".condarc", PACKAGES),
    (".gemrc", PACKAGES),
    // Pipelines.
    (".gitlab-ci.yml", PIPELINES),
    (".travis.yml", PIPELINES),
    ("azure-pipelines.yml", PIPELINES),
    ("bitbucket-pipelines.yml", PIPELINES),
    (".drone.yml", PIPELINES),
    (".woodpecker.yml", PIPELINES),
    (".cirrus.yml", PIPELINES),
    ("jenkinsfile", PIPELINES),
    // Interpreters and tools that read a file of the folder they start in.
    (".rprofile", "every R start runs it"),
    (".renviron", "every R start reads it"),
    (".irbrc", "every irb start runs it"),
    (".pryrc", "every pry start runs it"),
    (".pdbrc", "debuggers run it"),
    (".psqlrc", "every psql start runs it"),
    (".sqliterc", "every sqlite3 start runs it"),
    (".tmux.conf", SHELLS),
    (".screenrc", SHELLS),
    (".curlrc", "programs are configured there"),
    ("ansible.cfg", "programs are configured there"),
    (".wgetrc", "programs are configured there"),
    // The owner's account.
    (".netrc", "logins are configured there"),
    ("crontab", "cron runs what is listed there"),
];

/// Files whose name begins so.
const PREFIXES: &[(&str, &str)] = &[
    (".env.", "tools take their environment from it"),
    (".exrc", EDITORS),
    (".vimrc", EDITORS),
    (".gvimrc", EDITORS),
    (".nvimrc", EDITORS),
    (".eslintrc", EDITORS),
    (".prettierrc", EDITORS),
    (".stylelintrc", EDITORS),
    (".babelrc", EDITORS),
    (".rubocop", EDITORS),
    ("mise.", SHELLS),
    (".mise.", SHELLS),
    ("lefthook.", GIT),
    (".lefthook.", GIT),
    ("lefthook-local.", GIT),
    (".lefthook-local.", GIT),
    (".lintstagedrc", GIT),
];

/// Files whose name has this in the midst.
const INFIXES: &[(&str, &str)] = &[(".config.", EDITORS)];

/// Files whose name ends so.
const SUFFIXES: &[(&str, &str)] = &[
    (".code-workspace", EDITORS),
    (".sublime-project", EDITORS),
    (".csproj", EDITORS),
    (".vcxproj", EDITORS),
    (".gemspec", EDITORS),
    (".instructions.md", AGENTS),
    (".prompt.md", AGENTS),
    (".chatmode.md", AGENTS),
    (".agent.md", AGENTS),
    (".pth", "every Python start may load it"),
    (".desktop", "desktops start what it names"),
    (".service", "systemd starts what it names"),
    (".timer", "systemd starts what it names"),
];

const SHORT_NAME: &str = "its name may be the short form of another";

/// Why writing to `path`, below a root that is nothing of the kind itself, is running code, or `None`.
#[must_use]
pub fn runs_unasked(path: &RelPath) -> Option<&'static str> {
    let components: Vec<String> = path.components().map(fold_for_guard).collect();
    let name = components.last()?;
    in_folder(&components)
        .or_else(|| reason(NAMES, &|entry| name == entry))
        .or_else(|| reason(PREFIXES, &|prefix| name.starts_with(prefix)))
        .or_else(|| reason(INFIXES, &|infix| name.contains(infix)))
        .or_else(|| reason(SUFFIXES, &|suffix| name.ends_with(suffix)))
}

/// Why writing anything below `root` is running code, or `None`: the path counts as it is typed and as it resolves.
#[must_use]
pub fn root_runs_unasked(root: &Path) -> Option<&'static str> {
    let lies_in = |path: &Path| {
        let names = path
            .iter()
            .map(|name| fold_for_guard(&name.to_string_lossy()));
        in_folder(&names.collect::<Vec<_>>())
    };
    lies_in(root).or_else(|| lies_in(&root.canonicalize().ok()?))
}

/// Why everything at or below a path of these components runs, each folded.
fn in_folder(components: &[String]) -> Option<&'static str> {
    let is_short = components.iter().any(|component| is_short_name(component));
    reason(FOLDERS, &|folder| {
        components.iter().any(|component| component == folder)
    })
    .or(is_short.then_some(SHORT_NAME))
}

fn reason(list: &[(&str, &'static str)], matches: &dyn Fn(&str) -> bool) -> Option<&'static str> {
    list.iter()
        .find(|(entry, _)| matches(entry))
        .map(|(_, why)| *why)
}

/// `GIT~1` is `.git` on FAT and on many network shares; which name such a form stands for cannot be told.
fn is_short_name(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or_default();
    stem.split_once('~').is_some_and(|(base, number)| {
        base.len() <= 6 && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> Option<&'static str> {
        runs_unasked(&RelPath::parse(text).unwrap())
    }

    #[test]
    fn every_entry_is_written_as_it_is_compared_and_works() {
        for (entry, _) in FOLDERS.iter().chain(NAMES) {
            assert_eq!(fold_for_guard(entry), *entry);
            assert!(why(entry).is_some(), "{entry}");
            assert!(
                why(&format!("deep/er/{}", entry.to_uppercase())).is_some(),
                "{entry} in capitals, deeper"
            );
        }
        for (folder, _) in FOLDERS {
            assert!(
                why(&format!("{folder}/any/thing.txt")).is_some(),
                "{folder}"
            );
        }
        for (prefix, _) in PREFIXES {
            assert!(why(&format!("a/{prefix}x")).is_some(), "{prefix}");
        }
        for (infix, _) in INFIXES {
            assert!(why(&format!("a/x{infix}y")).is_some(), "{infix}");
        }
        for (suffix, _) in SUFFIXES {
            assert!(why(&format!("a/x{suffix}")).is_some(), "{suffix}");
        }
    }

    #[test]
    fn spellings_that_some_disk_takes_for_the_same() {
        for path in [
            ".GIT/hooks/pre-commit",
            ".g\u{200c}it/config",
            ".g\u{ad}it/config",
            "\u{200b}.git/config",
            "node_modules\u{fe0f}/x",
            ".git. /config",
            "GIT~1/config",
            "claude~1",
            "AGENT\u{17f}.md",
            "sub/.Git/config",
            ".git",
            "\u{feff}.envrc",
            "CLAUDE.MD",
        ] {
            assert!(why(path).is_some(), "{path:?}");
        }
    }

    #[test]
    fn ordinary_files_are_ordinary() {
        for path in [
            "README.md",
            "notes/claude.txt",
            "src/main.rs",
            ".gitignore",
            ".editorconfig",
            "gitignore/git",
            "docs/makefile.md",
            "my.env.md",
            "environment",
            "deploy.sh",
            "Dockerfile",
            "git/config",
            "node_modules.md",
            "a~b.md",
            "draft~",
            "long-name~1.md",
            "agents.md.bak",
        ] {
            assert_eq!(why(path), None, "{path:?}");
        }
    }
}
