//! [`Home`] and [`Identity`]: who this client is, on disk.
//!
//! ```text
//! HOME/agents/<first>-<last>-<public_id>/   0700   identity.json  private_key.pem  state.json  known_devices  lock
//! HOME/agents/.new-<registration_id>/       0700   a registration under way: private_key.pem  pending.json
//! ```
//! Invariants: a file is private (0600, this user's, no link) or it is refused, and so is a folder that others can change; a
//! file is replaced whole or not at all, and on disk before the call returns; a registration that was cut short is repeated
//! with the same key, so that no second user comes about; a key that is of no user any more does not stay; one process holds
//! an identity.

use crate::api::{Api, ApiError};
use crate::crypto::{CryptoError, DeviceKey};
use crate::dial::{Dial, Endpoint, EndpointError};
use crate::wire::{Kind, NewDevice, Register, Registered};
use crate::{Base64Url, Id, id};
use jiff::Timestamp;
use nix::fcntl::OFlag;
use plexus_protocol::state_dir::make_folder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

const IDENTITY: &str = "identity.json";
const PRIVATE_KEY: &str = "private_key.pem";
const PENDING: &str = "pending.json";
const LOCK: &str = "lock";
const NEW: &str = ".new-";
/// What a file is called before it replaces another one.
const HALF: &str = ".tmp";
/// How long a registration that was cut short may be gone on with. An invitation is valid for a week.
const UNFINISHED: Duration = Duration::from_secs(30 * 86_400);
/// Bytes of a file here: state grows with channels.
const FILE_BYTES: u64 = 16 << 20;

/// Why an identity is not there.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A name that is not one component of a path.
    #[error(
        "{0:?} is no name of an identity: one folder, without slashes, not beginning with a dot"
    )]
    Name(String),
    /// No such identity.
    #[error("there is no identity {name:?}; there are: {}", .known.join(", "))]
    Missing {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A file that others can read.
    #[error("{path} can be read by others; run: chmod 600 {path}", path = .0.display())]
    Readable(PathBuf),
    /// A folder in which others can put files.
    #[error("{path} can be changed by others; run: chmod go-w {path}", path = .0.display())]
    Writable(PathBuf),
    /// A file of another user, or a link in its place.
    #[error("{} is a link, no file, or another user's", .0.display())]
    Foreign(PathBuf),
    /// A file that does not hold what it should.
    #[error("{} is damaged: {why}", .file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// How.
        why: String,
    },
    /// Another process has it.
    #[error("another process uses the identity {0:?}")]
    InUse(String),
    /// The file system.
    #[error("{}: {why}", .file.display())]
    Io {
        /// Which file.
        file: PathBuf,
        /// What it says.
        why: io::Error,
    },
    /// The relay's address.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The relay.
    #[error(transparent)]
    Relay(#[from] ApiError),
    /// The key.
    #[error(transparent)]
    Key(#[from] CryptoError),
}

/// What `identity.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The form of this file.
    pub version: u32,
    /// The user's id.
    pub public_id: Id,
    /// The same.
    pub agent_id: Id,
    /// The device's id.
    pub device_id: Id,
    /// Agent or human.
    pub kind: Kind,
    /// As registered.
    pub first_name: String,
    /// As registered.
    pub last_name: String,
    /// Where the relay is.
    pub api_endpoint: String,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// What a registration is made of.
pub struct Registration {
    /// Where the relay is.
    pub endpoint: Endpoint,
    /// The invitation, a secret.
    pub invitation: Zeroizing<String>,
    /// May be left to the relay.
    pub first_name: Option<String>,
    /// May be left out.
    pub last_name: Option<String>,
    /// In the user's own words.
    pub skills: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    registration_id: Id,
    invitation: Base64Url,
    api_endpoint: String,
    first_name: Option<String>,
    last_name: Option<String>,
    skills: Vec<String>,
}

/// The folder of all identities of a person.
pub struct Home {
    agents: PathBuf,
}

/// An identity that this process holds, or [looks at](Home::look).
pub struct Identity {
    /// What is known about it.
    pub facts: Facts,
    /// Its private key.
    pub key: Arc<DeviceKey>,
    folder: PathBuf,
    lock: Option<File>,
}

impl Home {
    /// The home at a path; it is made where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made, or others can change it.
    pub fn at(root: &Path) -> Result<Self, IdentityError> {
        let agents = root.join("agents");
        let made = make_folder(&agents, 0o700);
        made.map_err(|why| io_error(&agents, why))?;
        check_folder(root)?;
        check_folder(&agents)?;
        Ok(Self { agents })
    }

    /// The home at a path, where another process has made it; nothing where it has not.
    #[must_use]
    pub fn there(root: &Path) -> Option<Self> {
        let agents = root.join("agents");
        agents.is_dir().then_some(Self { agents })
    }

    /// The names of the identities that are there, sorted.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn identities(&self) -> Result<Vec<String>, IdentityError> {
        let mut names = self.entries()?;
        names.retain(|name| {
            !name.starts_with('.') && self.agents.join(name).join(IDENTITY).exists()
        });
        Ok(names)
    }

    fn entries(&self) -> Result<Vec<String>, IdentityError> {
        names_in(&self.agents)
    }

    /// Takes an identity for this process.
    ///
    /// # Errors
    /// Where there is none of that name, a file is not private or damaged, or another process holds it.
    pub fn open(&self, name: &str) -> Result<Identity, IdentityError> {
        let folder = self.folder_of(name)?;
        let lock = lock(&folder, name)?;
        // What a process that was killed had not put in its place. It may be a key.
        for half in names_in(&folder)?
            .iter()
            .filter(|name| name.starts_with(HALF))
        {
            remove(&folder.join(half));
        }
        read_identity(folder, Some(lock))
    }

    /// An identity that another process holds, to read with: this process changes none of its files.
    ///
    /// # Errors
    /// Where there is none of that name, or a file is not private or damaged.
    pub fn look(&self, name: &str) -> Result<Identity, IdentityError> {
        read_identity(self.folder_of(name)?, None)
    }

    fn folder_of(&self, name: &str) -> Result<PathBuf, IdentityError> {
        let forbidden = name.starts_with('.') || name.contains(['/', '\\', '\0']);
        if name.is_empty() || forbidden {
            return Err(IdentityError::Name(name.to_owned()));
        }
        let folder = self.agents.join(name);
        if !folder.join(IDENTITY).exists() {
            return Err(IdentityError::Missing {
                name: name.to_owned(),
                known: self.identities()?,
            });
        }
        check_folder(self.agents.parent().unwrap_or(&self.agents))?;
        check_folder(&self.agents)?;
        check_folder(&folder)?;
        Ok(folder)
    }

    /// Registers with a relay, or goes on with a registration by the same invitation that was cut short.
    ///
    /// # Errors
    /// As [`open`](Self::open), and where the relay refuses or is not reached. What was begun is kept for the next try, unless
    /// the relay has refused it for good.
    pub async fn register(
        &self,
        dial: Arc<dyn Dial>,
        registration: &Registration,
    ) -> Result<Identity, IdentityError> {
        let hash = Sha256::digest(registration.invitation.as_bytes());
        let hash = Base64Url(hash.to_vec());
        self.forget_unfinished(id::now_millis())?;
        let folder = match self.unfinished(&hash, registration)? {
            Some(folder) => folder,
            None => self.begin(hash, registration)?,
        };
        let pending: Pending = read_json(&folder.join(PENDING))?;
        let key = read_key(&folder)?;
        let api = Api::new(registration.endpoint.clone(), dial, None);
        let register = Register {
            registration_id: pending.registration_id,
            invitation_key: registration.invitation.to_string(),
            first_name: pending.first_name,
            last_name: pending.last_name,
            skills: pending.skills,
            device: NewDevice {
                public_key: key.public().to_wire(),
            },
        };
        let registered = api.register(&register).await.inspect_err(|refused| {
            // No user has this key, and none will.
            if refused.is_final() {
                remove(&folder);
            }
        })?;
        let name = self.finish(&folder, &registered, &pending.api_endpoint)?;
        self.open(&name)
    }

    fn begin(&self, hash: Base64Url, from: &Registration) -> Result<PathBuf, IdentityError> {
        let registration_id = Id::generate();
        let folder = self.agents.join(format!("{NEW}{registration_id}"));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|why| io_error(&folder, why))?;
        write_private(
            &folder,
            PRIVATE_KEY,
            DeviceKey::generate().to_pem()?.as_bytes(),
        )?;
        let pending = Pending {
            registration_id,
            invitation: hash,
            api_endpoint: from.endpoint.to_string(),
            first_name: from.first_name.clone(),
            last_name: from.last_name.clone(),
            skills: from.skills.clone(),
        };
        write_json(&folder, PENDING, &pending)?;
        sync_folder(&self.agents)?;
        Ok(folder)
    }

    /// Removes registrations that nobody went on with: they hold keys.
    fn forget_unfinished(&self, now: u64) -> Result<(), IdentityError> {
        let kept = u64::try_from(UNFINISHED.as_millis()).unwrap_or(u64::MAX);
        for name in self.entries()? {
            let begun = name.strip_prefix(NEW).and_then(|id| id.parse::<Id>().ok());
            if begun.is_some_and(|begun| begun.millis().saturating_add(kept) < now) {
                remove(&self.agents.join(name));
            }
        }
        Ok(())
    }

    fn unfinished(
        &self,
        hash: &Base64Url,
        from: &Registration,
    ) -> Result<Option<PathBuf>, IdentityError> {
        let names = self.entries()?.into_iter();
        let mut folders = names
            .filter(|name| name.starts_with(NEW))
            .map(|name| self.agents.join(name));
        Ok(folders.find(|folder| {
            read_json::<Pending>(&folder.join(PENDING)).is_ok_and(|pending| {
                pending.invitation == *hash && pending.api_endpoint == from.endpoint.to_string()
            })
        }))
    }

    fn finish(
        &self,
        folder: &Path,
        registered: &Registered,
        api_endpoint: &str,
    ) -> Result<String, IdentityError> {
        let facts = Facts {
            version: 1,
            public_id: registered.public_id,
            agent_id: registered.agent_id,
            device_id: registered.device_id,
            kind: registered.kind,
            first_name: registered.first_name.clone(),
            last_name: registered.last_name.clone(),
            api_endpoint: api_endpoint.to_owned(),
            created_at: Timestamp::now(),
        };
        let name = folder_name(&facts);
        write_json(folder, IDENTITY, &facts)?;
        let to = self.agents.join(&name);
        fs::rename(folder, &to).map_err(|why| io_error(&to, why))?;
        // A pending request beside an identity is ignored; it only names a spent invitation's hash.
        let _ = fs::remove_file(to.join(PENDING));
        sync_folder(&self.agents)?;
        Ok(name)
    }
}

impl Identity {
    /// The folder of its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether this process holds it, and may change its files.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.lock.is_some()
    }

    /// Where its relay is.
    ///
    /// # Errors
    /// Where the file names no address of a relay.
    pub fn endpoint(&self) -> Result<Endpoint, IdentityError> {
        Ok(Endpoint::parse(&self.facts.api_endpoint)?)
    }
}

fn read_identity(folder: PathBuf, lock: Option<File>) -> Result<Identity, IdentityError> {
    let facts: Facts = read_json(&folder.join(IDENTITY))?;
    let key = read_key(&folder)?;
    Ok(Identity {
        facts,
        key: Arc::new(key),
        folder,
        lock,
    })
}

/// `<first>-<last>-<public_id>`, in letters and digits that every file system has.
fn folder_name(facts: &Facts) -> String {
    let part = |text: &str| {
        let plain: String = text
            .nfkd()
            .filter(|c| !unicode_normalization::char::is_combining_mark(*c))
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
        words.join("-")
    };
    let parts = [part(&facts.first_name), part(&facts.last_name)];
    let mut parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.push(facts.public_id.to_string());
    parts.join("-")
}

/// The names in a folder, sorted.
fn names_in(folder: &Path) -> Result<Vec<String>, IdentityError> {
    let read = fs::read_dir(folder).map_err(|why| io_error(folder, why))?;
    let mut names: Vec<String> = read
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Removes what is of no use any more. Where that fails the next one tries again.
fn remove(path: &Path) {
    let _ = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
}

/// A folder has to be this user's, and nobody else's to change.
fn check_folder(path: &Path) -> Result<(), IdentityError> {
    let facts = fs::metadata(path).map_err(|why| io_error(path, why))?;
    if !facts.is_dir() || facts.uid() != nix::unistd::geteuid().as_raw() {
        return Err(IdentityError::Foreign(path.to_owned()));
    }
    if facts.mode() & 0o022 != 0 {
        return Err(IdentityError::Writable(path.to_owned()));
    }
    Ok(())
}

fn lock(folder: &Path, name: &str) -> Result<File, IdentityError> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(OFlag::O_NOFOLLOW.bits());
    let file = options.open(&path).map_err(|why| io_error(&path, why))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(IdentityError::InUse(name.to_owned())),
        Err(TryLockError::Error(why)) => Err(io_error(&path, why)),
    }
}

fn read_key(folder: &Path) -> Result<DeviceKey, IdentityError> {
    let file = folder.join(PRIVATE_KEY);
    let bytes = Zeroizing::new(read_private(&file)?);
    let text = str::from_utf8(&bytes).unwrap_or_default();
    DeviceKey::from_pem(text).map_err(|why| IdentityError::Damaged {
        file,
        why: why.to_string(),
    })
}

/// Opens a file that is private; to be written, and made where it is not there, too.
pub(crate) fn open_private(path: &Path, is_written: bool) -> Result<File, IdentityError> {
    let mut options = OpenOptions::new();
    options.read(true).write(is_written).create(is_written);
    options.mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    let file = match options.open(path) {
        Ok(file) => file,
        Err(why) if why.raw_os_error() == Some(nix::libc::ELOOP) => {
            return Err(IdentityError::Foreign(path.to_owned()));
        }
        Err(why) => return Err(io_error(path, why)),
    };
    let facts = file.metadata().map_err(|why| io_error(path, why))?;
    if !facts.is_file() || facts.uid() != nix::unistd::geteuid().as_raw() {
        return Err(IdentityError::Foreign(path.to_owned()));
    }
    if facts.mode() & 0o077 != 0 {
        return Err(IdentityError::Readable(path.to_owned()));
    }
    Ok(file)
}

/// Reads a file that is private.
fn read_private(path: &Path) -> Result<Vec<u8>, IdentityError> {
    let file = open_private(path, false)?;
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES).read_to_end(&mut bytes);
    read.map_err(|why| io_error(path, why))?;
    Ok(bytes)
}

/// Reads a private file of JSON.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, IdentityError> {
    serde_json::from_slice(&read_private(path)?).map_err(|why| IdentityError::Damaged {
        file: path.to_owned(),
        why: why.to_string(),
    })
}

/// Writes a private file of JSON, whole or not at all, to disk.
pub(crate) fn write_json(
    folder: &Path,
    name: &str,
    value: &impl Serialize,
) -> Result<(), IdentityError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|why| IdentityError::Damaged {
        file: folder.join(name),
        why: why.to_string(),
    })?;
    write_private(folder, name, &bytes)
}

pub(crate) fn write_private(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
    let path = folder.join(name);
    let written = || -> io::Result<()> {
        // Made with 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|why| io_error(&path, why))
}

fn sync_folder(folder: &Path) -> Result<(), IdentityError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|why| io_error(folder, why))
}

pub(crate) fn io_error(file: &Path, why: io::Error) -> IdentityError {
    IdentityError::Io {
        file: file.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn registered(first: &str, last: &str) -> Registered {
        let id = Id::generate();
        Registered {
            public_id: id,
            agent_id: id,
            device_id: Id::generate(),
            kind: Kind::Agent,
            first_name: first.into(),
            last_name: last.into(),
            skills: Vec::new(),
            organization: crate::wire::Organization {
                id: Id::generate(),
                name: "o".into(),
            },
        }
    }

    fn registration() -> Registration {
        Registration {
            endpoint: Endpoint::parse("http://127.0.0.1:1").expect("an address"),
            invitation: Zeroizing::new("secret".into()),
            first_name: None,
            last_name: None,
            skills: Vec::new(),
        }
    }

    fn made(home: &Home) -> String {
        let from = registration();
        let hash = Base64Url(vec![1; 32]);
        let folder = home.begin(hash.clone(), &from).expect("begun");
        let unfinished = |hash: &Base64Url| home.unfinished(hash, &from).expect("read");
        assert_eq!(unfinished(&hash), Some(folder.clone()));
        assert_eq!(unfinished(&Base64Url(vec![2; 32])), None);
        let registered = registered("Péra  d'Or", "ž");
        let finished = home.finish(&folder, &registered, "http://127.0.0.1:1");
        finished.expect("finished")
    }

    #[test]
    fn identity_is_private_and_held_by_one_process() {
        let root = tempfile::tempdir().expect("a folder");
        let home = Home::at(root.path()).expect("a home");
        let name = made(&home);
        assert!(name.starts_with("pera-d-or-z-0"), "{name}");
        assert_eq!(home.identities().expect("names"), [name.as_str()]);
        let identity = home.open(&name).expect("opens");
        for file in [IDENTITY, PRIVATE_KEY, LOCK] {
            let mode = identity.folder().join(file).metadata().expect(file).mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert!(matches!(home.open(&name), Err(IdentityError::InUse(_))));
        drop(identity);
        home.open(&name).expect("opens again");
    }

    #[test]
    fn identity_with_open_linked_or_damaged_file_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let home = Home::at(root.path()).expect("a home");
        let name = made(&home);
        let key = home.agents.join(&name).join(PRIVATE_KEY);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("mode");
        assert!(matches!(home.open(&name), Err(IdentityError::Readable(_))));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("mode");
        drop(home.open(&name).expect("opens"));
        let aside = root.path().join("aside");
        fs::rename(&key, &aside).expect("moved");
        symlink(&aside, &key).expect("a link");
        assert!(matches!(home.open(&name), Err(IdentityError::Foreign(_))));
        fs::remove_file(&key).expect("removed");
        write_private(&home.agents.join(&name), PRIVATE_KEY, b"no key").expect("written");
        let damaged = home.open(&name);
        assert!(matches!(damaged, Err(IdentityError::Damaged { .. })));
        for bad in ["", "..", ".new-x", "a/b", "a\\b", "a\0"] {
            let is_refused = matches!(home.open(bad), Err(IdentityError::Name(_)));
            assert!(is_refused, "{bad:?}");
        }
        let Err(IdentityError::Missing { known, .. }) = home.open("nobody") else {
            panic!("nobody is there")
        };
        assert_eq!(known, [name]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn registration_and_identity_survive_a_power_cut() {
        let (hash, from) = (Base64Url(vec![1; 32]), registration());
        let at = |top: &Path| Home::at(&top.join("plexus")).expect("a home");
        let begin = |top: &Path| at(top).begin(hash.clone(), &from).expect("begun");
        let begun = |top: &Path| {
            let folder = at(top).unfinished(&hash, &from).ok().flatten();
            folder.is_some_and(|folder| read_key(&folder).is_ok())
        };
        let (lost, _) =
            plexus_power_cut::needed(|_| (), |disk, ()| drop(begin(&disk.path())), begun);
        assert!(lost.len() >= 4, "{lost:?}");
        let finish = |top: &Path, folder: PathBuf| {
            let facts = registered("Ana", "A");
            at(top)
                .finish(&folder, &facts, "http://127.0.0.1:1")
                .expect("finished");
        };
        let there = |top: &Path| {
            let names = at(top).identities().expect("names");
            names.first().is_some_and(|name| at(top).open(name).is_ok())
        };
        let act = |disk: &plexus_power_cut::Disk, folder| finish(&disk.path(), folder);
        plexus_power_cut::holds(begin, act, there, &[]);
    }

    /// Root gives away what is its own; anybody else finds enough of root's.
    #[test]
    fn what_another_user_owns_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let (mut file, mut folder) = (root.path().join("key"), root.path().join("folder"));
        write_private(root.path(), "key", b"secret").expect("written");
        fs::create_dir(&folder).expect("made");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("mode");
        assert_eq!(read_private(&file).expect("the control"), b"secret");
        check_folder(&folder).expect("the control");
        if nix::unistd::geteuid().is_root() {
            for theirs in [&file, &folder] {
                std::os::unix::fs::chown(theirs, Some(65534), None).expect("given away");
            }
        } else {
            (file, folder) = ("/etc/passwd".into(), "/etc".into());
        }
        let refused = read_private(&file).unwrap_err();
        assert!(
            matches!(&refused, IdentityError::Foreign(path) if *path == file),
            "{refused}"
        );
        let refused = check_folder(&folder).unwrap_err();
        assert!(
            matches!(&refused, IdentityError::Foreign(path) if *path == folder),
            "{refused}"
        );
    }

    #[test]
    fn folder_that_others_can_change_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let home = Home::at(root.path()).expect("a home");
        let name = made(&home);
        let folder = home.agents.join(&name);
        for open in [root.path(), &home.agents, &folder] {
            for mode in [0o777, 0o720, 0o702] {
                fs::set_permissions(open, fs::Permissions::from_mode(mode)).expect("mode");
                for refused in [home.open(&name).err(), home.look(&name).err()] {
                    assert!(
                        matches!(&refused, Some(IdentityError::Writable(path)) if path == open),
                        "{refused:?}"
                    );
                }
                assert_eq!(Home::at(root.path()).is_err(), open != folder);
            }
            fs::set_permissions(open, fs::Permissions::from_mode(0o755)).expect("mode");
            drop(home.open(&name).expect("opens"));
        }
    }

    #[test]
    fn keys_of_registrations_and_files_that_were_cut_short_do_not_stay() {
        let root = tempfile::tempdir().expect("a folder");
        let home = Home::at(root.path()).expect("a home");
        let name = made(&home);
        let half = home.agents.join(&name).join(".tmpAbCdEf");
        fs::write(&half, "a key").expect("written");
        drop(home.look(&name).expect("looked at"));
        assert!(half.exists(), "another process may be writing it");
        drop(home.open(&name).expect("opens"));
        assert!(!half.exists());
        let now = id::now_millis();
        let month = u64::try_from(UNFINISHED.as_millis()).expect("a number");
        let begun = |at| home.agents.join(format!("{NEW}{}", Id::from_parts(at, 1)));
        let (old, new) = (begun(now - month - 1), begun(now - month));
        for folder in [&old, &new] {
            fs::create_dir(folder).expect("made");
            fs::write(folder.join(PRIVATE_KEY), "a key").expect("written");
        }
        home.forget_unfinished(now).expect("read");
        assert_eq!((old.exists(), new.exists()), (false, true));
        assert_eq!(home.identities().expect("names"), [name]);
    }
}
