//! Where the gateway looks for what the owner could add of a kind.
//!
//! Invariant: of an app's files only a list of folders is read; of everything else it is seen whether it is there.
//!
//! Must not know: who looks.

use serde::{Deserialize, Serialize};

/// How sources of a kind are found on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Detect {
    /// Each folder that an app lists could be one.
    Folders {
        /// The app's list.
        list: FolderList,
        /// What an entry is called in a sentence, such as `Obsidian lists a vault`.
        evidence: String,
        /// What the id of a suggested source begins with where the folder's name gives none, such as `vault`.
        noun: String,
    },
    /// A plugin of such an app that listens on this machine could be one.
    Plugin {
        /// The app's list.
        list: FolderList,
        /// A file that the plugin keeps in such a folder. It may hold secrets, and is never opened.
        file: String,
        /// Where it listens if nobody has chosen another port.
        port: u16,
        /// What it is called in a sentence, such as `the plugin Local REST API`.
        evidence: String,
    },
    /// The app could be one.
    App {
        /// Where it is installed on macOS: one of these.
        macos: Vec<String>,
        /// What is said where it is, such as `Calendar is installed`.
        evidence: String,
    },
}

/// A JSON file in which an app lists folders: `{<members>: {<any>: {<path>: "/folder"}}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FolderList {
    /// Where the file may be on Linux, relative to the home directory.
    pub linux: Vec<String>,
    /// The same on macOS.
    pub macos: Vec<String>,
    /// The member of the file whose members are the entries.
    pub members: String,
    /// The member of an entry that is the folder.
    pub path: String,
}
