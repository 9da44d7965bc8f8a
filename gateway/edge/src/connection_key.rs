//! The owner's credential, in its 0600 file.
//!
//! Invariants: compared in constant time; replaced in memory only after the machine has recorded the rotation.

use arc_swap::ArcSwap;
use plexus_home::state_dir::{Lasting, StateDir};
use plexus_protocol::credential::ConnectionKey;
use std::{fs, sync::Arc};

const FILE: &str = "connection-key";

/// The file, and the key in it.
pub struct KeyFile {
    dir: StateDir,
    key: ArcSwap<ConnectionKey>,
}

impl KeyFile {
    /// Reads the key, making one at the first start.
    ///
    /// # Errors
    /// A file that is there and is not a key is refused: overwriting it could end a credential that somebody holds.
    pub fn open(dir: &StateDir) -> anyhow::Result<Self> {
        let path = dir.join(FILE);
        let key = match fs::read_to_string(&path) {
            Ok(text) => ConnectionKey::parse(text.trim_end()).ok_or_else(|| {
                anyhow::Error::new(Lasting(format!(
                    "{} does not hold a connection key: restore it, or move it away",
                    path.display()
                )))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = ConnectionKey::fresh()?;
                dir.write_private(FILE, key.expose().as_bytes())?;
                key
            }
            Err(error) => return Err(anyhow::anyhow!("{}: {error}", path.display())),
        };
        Ok(Self {
            dir: dir.clone(),
            key: ArcSwap::from_pointee(key),
        })
    }

    /// Whether `text` is the key.
    pub fn accepts(&self, text: &str) -> bool {
        ConnectionKey::parse(text).is_some_and(|given| given.matches(&self.key.load()))
    }

    /// Writes a new key and makes it the one that counts.
    ///
    /// # Errors
    /// The old key stays then.
    pub fn replace(&self, key: ConnectionKey) -> anyhow::Result<()> {
        self.dir.write_private(FILE, key.expose().as_bytes())?;
        self.key.store(Arc::new(key));
        Ok(())
    }
}
