//! Which processes a gateway started, and whether one of them is still there. Linux only: elsewhere both say nothing.

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's number.
    pub parent: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// When it started, in ticks since boot.
    started: u64,
}

impl Process {
    /// Whether it still runs; a zombie does not.
    #[must_use]
    pub fn alive(&self) -> bool {
        all().iter().any(|other| other == self)
    }
}

/// Every process below `pid`, however deep.
#[must_use]
pub fn below(pid: u32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            found.push(process.clone());
        }
    }
    found
}

#[cfg(target_os = "linux")]
fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            read(
                pid,
                &std::fs::read_to_string(entry.path().join("stat")).ok()?,
            )
        })
        .collect()
}

#[cfg(not(target_os = "linux"))]
fn all() -> Vec<Process> {
    Vec::new()
}

/// Reads `/proc/<pid>/stat`: the name stands in parentheses and may hold any byte, so the last `)` ends it.
#[cfg(target_os = "linux")]
fn read(pid: u32, stat: &str) -> Option<Process> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    if *state == "Z" || *state == "X" {
        return None;
    }
    Some(Process {
        pid,
        parent: parent.parse().ok()?,
        name: name.to_owned(),
        started: started.parse().ok()?,
    })
}
