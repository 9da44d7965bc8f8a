//! The lock between what a credential of the owner's allows and the rotation of the connection key.

use std::sync::Arc;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Held for reading from the last check of a credential to the end of what it allows; for writing by the rotation.
#[derive(Debug, Default)]
pub struct KeyLock(Arc<RwLock<()>>);

impl KeyLock {
    /// Until it is dropped the key is not rotated.
    pub async fn begin(&self) -> OwnedRwLockReadGuard<()> {
        self.0.clone().read_owned().await
    }

    /// What was begun with the old key has ended, and nothing begins with it.
    pub async fn rotation(&self) -> OwnedRwLockWriteGuard<()> {
        self.0.clone().write_owned().await
    }
}
