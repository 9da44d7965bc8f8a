//! The plugin's requests, as far as this connector makes them.
//!
//! Invariants: a folder is never taken for a note, nor a note for a folder; each answer is held against what was asked.
//!
//! Must not know: calls, what is hidden.

use crate::path::encoded;
use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode,
    header::{self, HeaderValue},
};
use plexus_egress_client::{Answer, EgressClient, NoAnswer};
use plexus_ipc::text::percent_encode;
use plexus_protocol::Effect;
use plexus_rooted_files::RelPath;
use serde::{Deserialize, de::DeserializeOwned};

/// A note with what the plugin knows of it.
const NOTE_JSON: HeaderValue = HeaderValue::from_static("application/vnd.olrapi.note+json");
/// Characters around a hit.
const CONTEXT: usize = 80;

/// Why a request has no answer of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// An answer that says no, and how long it asks to wait, in seconds.
    #[error("the plugin answered {}", .0.as_u16())]
    Status(StatusCode, Option<u64>),
    #[error("the plugin's answer cannot be read: {0}")]
    Unreadable(&'static str),
}

impl Failure {
    /// What a request that changes something has done, where it failed so.
    pub(crate) fn effect(&self) -> Effect {
        match self {
            Self::NoAnswer(why) => why.effect(),
            Self::Status(status, _) if status.is_server_error() => Effect::Unknown,
            Self::Status(..) => Effect::None,
            Self::Unreadable(_) => Effect::Unknown,
        }
    }
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Folder,
    File(Bytes),
}

/// A note that the plugin chose.
#[derive(Debug, Deserialize)]
pub(crate) struct Note {
    pub(crate) path: String,
    pub(crate) content: String,
    pub(crate) stat: Stat,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Stat {
    /// Milliseconds since 1970.
    pub(crate) mtime: f64,
}

/// The places of one note that fit a search.
#[derive(Debug, Deserialize)]
pub(crate) struct NoteMatches {
    pub(crate) filename: String,
    #[serde(default)]
    pub(crate) matches: Vec<Match>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Match {
    pub(crate) context: String,
}

/// The names in a folder.
#[derive(Debug, Deserialize)]
pub(crate) struct Listing {
    pub(crate) files: Vec<String>,
}

/// Obsidian's commands.
#[derive(Debug, Deserialize)]
pub(crate) struct CommandList {
    pub(crate) commands: Vec<Command>,
}

/// One of Obsidian's commands.
#[derive(Debug, Deserialize, serde::Serialize)]
pub(crate) struct Command {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// A change of one note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The whole text.
    Put(String),
    /// A text at the end.
    Append(String),
    Delete,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Api(pub(crate) EgressClient);

impl Api {
    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: Option<HeaderValue>,
        text: Option<String>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT, accept);
        }
        if text.is_some() {
            request = request.header(header::CONTENT_TYPE, "text/markdown; charset=utf-8");
        }
        let request = request.body(text.unwrap_or_default().into());
        let request = request.map_err(|_| Failure::Unreadable("an address that is none"))?;
        Ok(self.0.send(request).await?)
    }

    /// Whether the plugin serves, and takes the key.
    pub(crate) async fn check(&self) -> Result<(), Failure> {
        self.names(&RelPath::root()).await.map(drop)
    }

    /// The names in a folder, those of folders with `/` at the end; `None` where there is no such folder.
    pub(crate) async fn names(&self, folder: &RelPath) -> Result<Option<Vec<String>>, Failure> {
        let path = encoded("/vault", folder, true);
        let answer = self.send(Method::GET, &path, None, None).await?;
        // A note's path with `/` at the end is answered with the note.
        if answer.status == StatusCode::NOT_FOUND || is_file(&answer) {
            return Ok(None);
        }
        let listing: Listing = read(&done(answer)?.body)?;
        Ok(Some(listing.files))
    }

    /// What is at a path now.
    pub(crate) async fn get(&self, path: &RelPath) -> Result<Found, Failure> {
        let path = encoded("/vault", path, false);
        let answer = self.send(Method::GET, &path, None, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(Found::Nothing);
        }
        let answer = done(answer)?;
        Ok(match is_file(&answer) {
            true => Found::File(answer.body),
            false => Found::Folder,
        })
    }

    /// Changes a note.
    pub(crate) async fn make(&self, path: &RelPath, act: Act) -> Result<(), Failure> {
        let (method, text) = match act {
            Act::Put(text) => (Method::PUT, Some(text)),
            Act::Append(text) => (Method::POST, Some(text)),
            Act::Delete => (Method::DELETE, None),
        };
        let path = encoded("/vault", path, false);
        done(self.send(method, &path, None, text).await?).map(drop)
    }

    /// The notes that fit, the best first.
    pub(crate) async fn search(&self, query: &str) -> Result<Vec<NoteMatches>, Failure> {
        let mut path = "/search/simple/?query=".to_owned();
        percent_encode(query, &mut path);
        path.push_str(&format!("&contextLength={CONTEXT}"));
        read(&done(self.send(Method::POST, &path, None, None).await?)?.body)
    }

    /// The note that is open; `None` where there is none.
    pub(crate) async fn active(&self) -> Result<Option<Note>, Failure> {
        self.chosen("/active/").await
    }

    /// The current note of a period; `None` where there is none, or the plugin has no such request.
    pub(crate) async fn periodic(&self, period: &str) -> Result<Option<Note>, Failure> {
        self.chosen(&format!("/periodic/{period}/")).await
    }

    async fn chosen(&self, path: &str) -> Result<Option<Note>, Failure> {
        let answer = self.send(Method::GET, path, Some(NOTE_JSON), None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        read(&done(answer)?.body).map(Some)
    }

    /// Obsidian's commands.
    pub(crate) async fn commands(&self) -> Result<Vec<Command>, Failure> {
        let answer = self.send(Method::GET, "/commands/", None, None).await?;
        Ok(read::<CommandList>(&done(answer)?.body)?.commands)
    }
}

/// The plugin marks a file, and no listing, as something to save.
fn is_file(answer: &Answer) -> bool {
    answer.status.is_success() && answer.headers.contains_key(header::CONTENT_DISPOSITION)
}

fn done(answer: Answer) -> Result<Answer, Failure> {
    match answer.status.is_success() {
        true => Ok(answer),
        false => Err(Failure::Status(answer.status, answer.retry_after())),
    }
}

/// The JSON of an answer.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|_| Failure::Unreadable("it is not the JSON that the plugin's documentation has"))
}
