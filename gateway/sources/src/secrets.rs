//! Secrets of sources: which there are, where each lies, and reading those of one source for its worker.
//!
//! A secret lies in `secrets/<source>.<field>`. No source id holds a dot, so no source reads what is another's; where the
//! wire's `secretRef` names a file, it has none either.
//!
//! Invariants: what a worker is given are the secrets of its own source and of the fields that its manifest names; a
//! source that is removed or becomes another kind leaves none behind; a sign-in is compared and renewed in one step, so that
//! one which the owner has replaced or deleted does not come back.
//!
//! Must not know: what a secret is for, and who sets it.

use crate::Registry;
use plexus_home::state_dir::StateDir;
use plexus_ipc::{
    egress::SignIn,
    manifest::Manifest,
    message::{MAX_SECRET, Secret, Secrets},
};
use plexus_protocol::{Digest, Scopes, SourceId};
use plexus_trust::{SourceConfig, State};
use std::{
    fs,
    io::{self, Read as _},
    sync::{Mutex, MutexGuard, PoisonError},
};
use zeroize::Zeroizing;

/// Held by each change of a secret.
static CHANGES: Mutex<()> = Mutex::new(());

fn changing() -> MutexGuard<'static, ()> {
    CHANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a secret of a source lies.
#[derive(Clone, Debug)]
pub struct SecretFile {
    /// Its field.
    pub field: String,
    /// Its name below `secrets/`.
    pub name: String,
    /// Whether the source cannot do without.
    pub required: bool,
    /// Whether its worker uses it once: one that has started before says by itself whether it still needs it.
    pub once: bool,
    /// Whether it is the owner's sign-in at a server.
    pub is_sign_in: bool,
}

/// The secrets that a source has by its manifest.
pub fn of_source(manifest: &Manifest, id: &SourceId, config: &SourceConfig) -> Vec<SecretFile> {
    let fields = manifest.secrets();
    let fields = fields.filter(|field| !field.is_replaced(&config.route));
    let fields = fields.map(|field| SecretFile {
        name: match &config.secret_ref {
            Some(name) => name.clone(),
            None => format!("{id}.{}", field.name),
        },
        field: field.name.clone(),
        required: field.required,
        once: field.once,
        is_sign_in: manifest
            .hosts()
            .any(|host| host.sign_in.is_some() && host.secret.as_ref() == Some(&field.name)),
    });
    fields.collect()
}

/// The sources that are given the secret of this name, each with its file.
pub fn users(registry: &Registry, state: &State, name: &str) -> Vec<(SourceId, SecretFile)> {
    let mut users = Vec::new();
    for source in state.sources.values() {
        let Some(connector) = registry.of_source(&source.config) else {
            continue;
        };
        let files = of_source(&connector.offer.manifest, &source.id, &source.config);
        let used = files.into_iter().filter(|file| file.name == name);
        users.extend(used.map(|file| (source.id.clone(), file)));
    }
    users
}

/// Reads the secrets of a source for a worker that starts.
///
/// # Errors
/// One that the source needs is not set; one that is set cannot be read.
pub fn read(state_dir: &StateDir, source: &SourceId, files: &[SecretFile]) -> io::Result<Secrets> {
    let mut secrets = Vec::new();
    let has_started = || state_dir.join("workers").join(source.as_str()).exists();
    for file in files {
        let field = &file.field;
        match read_one(state_dir, &file.name) {
            Ok(secret) => secrets.push((field.clone(), secret)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if file.required && !(file.once && has_started()) {
                    let why = match file.is_sign_in {
                        true => format!("nobody is signed in: plexusctl mcp login {source}"),
                        false => {
                            format!("{field} is not set: plexusctl sources secret {source} {field}")
                        }
                    };
                    return Err(io::Error::new(io::ErrorKind::NotFound, why));
                }
            }
            Err(error) => return Err(io::Error::new(error.kind(), format!("{field}: {error}"))),
        }
    }
    Ok(secrets.into_iter().collect())
}

fn read_one(state_dir: &StateDir, name: &str) -> io::Result<Secret> {
    let file = fs::File::open(state_dir.join("secrets").join(name))?;
    // As large as it can get, so that nothing of it is left behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(MAX_SECRET + 1));
    file.take(MAX_SECRET as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_SECRET {
        let why = format!("longer than {MAX_SECRET} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Secret::new(std::mem::take(&mut *text)))
}

/// What the owner's sign-in in one of these is good for; none where there is none, or nobody said.
#[must_use]
pub fn sign_in_scope(state_dir: &StateDir, files: &[SecretFile]) -> Option<Scopes> {
    let file = files.iter().find(|file| file.is_sign_in)?;
    SignIn::read(&read_one(state_dir, &file.name).ok()?)?.scope
}

/// Writes what the sign-in in a secret has become, where it still is `was`: what the owner has set since is not replaced.
///
/// # Errors
/// It is another by now; the system's.
pub fn keep(
    state_dir: &StateDir,
    files: &[SecretFile],
    field: &str,
    was: Digest,
    now: &Secret,
) -> io::Result<()> {
    let file = files.iter().find(|file| file.field == field);
    let file = file.ok_or_else(|| io::Error::other("the source has no such secret"))?;
    let _alone = changing();
    let there = read_one(state_dir, &file.name)?;
    if Digest::of(there.expose().as_bytes()) != was {
        return Err(io::Error::other("another one was set in the meantime"));
    }
    state_dir.write_private(&format!("secrets/{}", file.name), now.expose().as_bytes())
}

/// Writes the secret of this name below `secrets/`.
///
/// # Errors
/// The system's.
pub fn write(state_dir: &StateDir, name: &str, value: &[u8]) -> io::Result<()> {
    let _alone = changing();
    state_dir.write_private(&format!("secrets/{name}"), value)
}

/// Deletes the secret of this name below `secrets/`. Whether it was there.
///
/// # Errors
/// The system's.
pub fn delete(state_dir: &StateDir, name: &str) -> io::Result<bool> {
    let _alone = changing();
    plexus_home::state_dir::remove(&state_dir.join("secrets").join(name))
}

/// Deletes all secrets of a source.
///
/// # Errors
/// The system's: some may still be there.
pub fn forget(state_dir: &StateDir, source: &SourceId) -> io::Result<()> {
    let _alone = changing();
    let own = format!("{source}.");
    for entry in fs::read_dir(state_dir.join("secrets"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&own) {
            plexus_home::state_dir::remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::{io::Write as _, thread, time::Duration};

    fn file(name: &str, required: bool) -> SecretFile {
        let (_, field) = name.split_once('.').unwrap();
        SecretFile {
            field: field.to_owned(),
            name: name.to_owned(),
            required,
            once: false,
            is_sign_in: false,
        }
    }

    #[test]
    fn renewal_brings_back_nothing_that_its_owner_changed() {
        type Change = fn(&StateDir) -> io::Result<()>;
        let changes: [(Change, Option<&[u8]>); 3] = [
            (
                |home| write(home, "mail.token", b"owner's"),
                Some(b"owner's"),
            ),
            (|home| delete(home, "mail.token").map(drop), None),
            (|home| forget(home, &SourceId::parse("mail").unwrap()), None),
        ];
        for (change, left) in changes {
            let outer = tempfile::tempdir().unwrap();
            let home = StateDir::open(Some(outer.path().join("home"))).unwrap();
            let (path, files) = (home.join("secrets/mail.token"), [file("mail.token", true)]);
            // The renewal compares for as long as this is open.
            mkfifo(&path, Mode::S_IRWXU).unwrap();
            let (was, now) = (Digest::of(b"old"), Secret::new("renewed".to_owned()));
            thread::scope(|scope| {
                let renewal = scope.spawn(|| keep(&home, &files, "token", was, &now));
                let mut there = fs::OpenOptions::new().write(true).open(&path).unwrap();
                let changed = scope.spawn(|| change(&home));
                // As long as one takes that waits for nobody.
                thread::sleep(Duration::from_millis(300));
                there.write_all(b"old").unwrap();
                drop(there);
                renewal.join().unwrap().unwrap();
                changed.join().unwrap().unwrap();
            });
            assert_eq!(fs::read(&path).ok().as_deref(), left);
        }
    }

    #[test]
    fn secrets_are_read_by_field_and_forgotten_by_source() {
        let outer = tempfile::tempdir().unwrap();
        let home = StateDir::open(Some(outer.path().join("home"))).unwrap();
        let (mail, mails) = (
            SourceId::parse("mail").unwrap(),
            SourceId::parse("mail-2").unwrap(),
        );
        let wanted = [file("mail.token", true), file("mail.spare", false)];
        let why = read(&home, &mail, &wanted).unwrap_err().to_string();
        assert!(why.contains("plexusctl sources secret mail token"), "{why}");
        let used = SecretFile {
            once: true,
            ..file("mail.token", true)
        };
        // A source that has never started has used none: it waits for it as for any other.
        let once = read(&home, &mail, std::slice::from_ref(&used)).unwrap_err();
        assert_eq!(once.to_string(), why);
        fs::create_dir_all(home.join("workers/mail")).unwrap();
        assert!(read(&home, &mail, &[used]).unwrap().get("token").is_none());
        for name in ["mail.token", "mail-2.token", "plain"] {
            home.write_private(&format!("secrets/{name}"), name.as_bytes())
                .unwrap();
        }
        let secrets = read(&home, &mail, &wanted).unwrap();
        assert_eq!(secrets.get("token").unwrap().expose(), "mail.token");
        assert!(secrets.get("spare").is_none());
        let long = vec![b'x'; MAX_SECRET + 1];
        home.write_private("secrets/mail.spare", &long).unwrap();
        let refused = || read(&home, &mail, &wanted).map(drop).unwrap_err().kind();
        assert_eq!(refused(), io::ErrorKind::InvalidData);
        home.write_private("secrets/mail.spare", &long[1..])
            .unwrap();
        let longest = read(&home, &mail, &wanted).unwrap();
        assert_eq!(longest.get("spare").unwrap().expose().len(), MAX_SECRET);
        forget(&home, &mail).unwrap();
        assert_eq!(refused(), io::ErrorKind::NotFound);
        let others = read(&home, &mails, &[file("mail-2.token", true)]).unwrap();
        assert_eq!(
            others.get("token").unwrap().expose(),
            "mail-2.token",
            "the control"
        );
        assert!(home.join("secrets/plain").exists(), "the control");
    }
}
