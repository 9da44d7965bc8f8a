//! What was read, kept from one chat to the next: `chat.json` in the state directory, for each channel its newest message
//! that was on the screen.
//!
//! Must not know: texts. A file of marks that cannot be read is said, never taken for an empty one.

use plexus_client::{
    Exit, Home, Stop,
    private_file::{self, Unnamed, Unusable},
};
use std::collections::BTreeMap;

const FILE: &str = "chat.json";
/// Largest file, in bytes: a mark has less than 200.
const MOST: u64 = 4 << 20;

/// The marks; none where there is no file yet.
pub(super) fn load(home: &Home) -> Result<BTreeMap<String, String>, Stop> {
    let path = home.path().join(FILE);
    let read = match private_file::read_bounded(&path, MOST) {
        Ok(read) => read,
        Err(Unusable::Missing(_)) => return Ok(BTreeMap::new()),
        Err(other) => return Err(unusable(&other.to_string())),
    };
    let why = |error: serde_json::Error| {
        let at = path.display();
        unusable(&format!("{at} is damaged: {error}")).next(format!("rm {at}; all is unread then"))
    };
    serde_json::from_str(&read).map_err(why)
}

/// Keeps the marks.
pub(super) fn save(home: &Home, marks: &BTreeMap<String, String>) -> Result<(), Stop> {
    let text = serde_json::to_string(marks).map_err(|error| unusable(&error.to_string()))?;
    let named = Unnamed::create(home.path()).and_then(|file| file.name(FILE, &text));
    let failed = |why: Unusable| unusable(&format!("what you read is not kept: {why}"));
    named.map(drop).map_err(failed)
}

fn unusable(why: &str) -> Stop {
    Stop::new(Exit::Failed, "chat_file", why)
}
