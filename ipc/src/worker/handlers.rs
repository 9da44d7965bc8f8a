//! A connector's handlers, by the names in its manifest. Each is boxed once, at start.

use super::{CallContext, Content, Preview, SourceError, Touched};
use crate::manifest::Manifest;
use crate::message::{Summary, UndoId};
use crate::text::{Line, Output, Payload};
use plexus_protocol::{Digest, Verb};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, pin::Pin, sync::Arc};

/// The input of a capability that takes none: an object without fields.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoInput {}

/// What a read or a commit answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<Out> {
    /// The output, which fits the manifest's output schema.
    pub output: Out,
    /// Everything that was read or changed, resolved.
    pub touched: Vec<Touched>,
    /// One line without content.
    pub summary: Summary,
    /// Where the effect can be taken back.
    pub undo: Option<UndoId>,
}

impl<Out> Reply<Out> {
    /// An answer that touched nothing.
    pub fn new(output: Out, summary: impl AsRef<str>) -> Self {
        Self {
            output,
            touched: Vec::new(),
            summary: Line::new(summary),
            undo: None,
        }
    }
    /// Adds what was read or changed.
    #[must_use]
    pub fn touched(mut self, touched: impl IntoIterator<Item = Touched>) -> Self {
        self.touched.extend(touched);
        self
    }
    /// Names how it can be taken back.
    #[must_use]
    pub fn undo(mut self, id: impl AsRef<str>) -> Self {
        self.undo = Some(Line::new(id));
        self
    }
}

/// What an effect would do. Making one changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<P> {
    /// What the commit is handed, in the same process.
    pub plan: P,
    /// Its rendering for the owner.
    pub preview: Preview,
    /// Digest over what it assumes: what is changed, where, and what is there now.
    pub state_token: Digest,
    /// Tokens of earlier states whose plan did the same: an owner who approved one of them approved this. Most have none.
    pub also: Vec<Digest>,
    /// What it would change, each with the digest of what is there now.
    pub touched: Vec<Touched>,
    /// Higher than the manifest's where this input makes it so; lower is ignored.
    pub rating: Verb,
    /// One line without content.
    pub summary: Summary,
    /// What is now at the place that it changes; `None` where the effect replaces nothing that an agent could have
    /// read. A standing write is held against it.
    pub before: Option<Content>,
    /// What the owner should know.
    pub warnings: Vec<Line<256>>,
}

impl<P> Plan<P> {
    /// A plan of the manifest's rating that replaces nothing.
    pub fn new(plan: P, state_token: Digest, preview: Preview, summary: impl AsRef<str>) -> Self {
        Self {
            plan,
            preview,
            state_token,
            also: Vec::new(),
            touched: Vec::new(),
            rating: Verb::Read,
            summary: Line::new(summary),
            before: None,
            warnings: Vec::new(),
        }
    }
    /// Adds what it would change.
    #[must_use]
    pub fn touched(mut self, touched: impl IntoIterator<Item = Touched>) -> Self {
        self.touched.extend(touched);
        self
    }
    /// Names the earlier states whose plan did the same.
    #[must_use]
    pub fn also(mut self, tokens: impl IntoIterator<Item = Digest>) -> Self {
        self.also.extend(tokens);
        self
    }
    /// Says what is there now.
    #[must_use]
    pub fn before(mut self, content: Content) -> Self {
        self.before = Some(content);
        self
    }
    /// Rates it, where this input amounts to more than the manifest says.
    #[must_use]
    pub fn rating(mut self, rating: Verb) -> Self {
        self.rating = rating;
        self
    }
    /// Adds a warning for the owner.
    #[must_use]
    pub fn warning(mut self, line: impl AsRef<str>) -> Self {
        self.warnings.push(Line::new(line));
        self
    }
}

pub(super) type Running<T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send>>;
type Run<S, T> = Box<dyn Fn(Arc<S>, CallContext, Payload) -> Running<T> + Send + Sync>;
type Finish<S> = Box<dyn FnOnce(Arc<S>, CallContext) -> Running<Reply<Output>> + Send>;

pub(super) enum Handler<S> {
    Read(Run<S, Reply<Output>>),
    /// Plans; the plan carries its own commit, so none can be committed that was not planned.
    Effect(Run<S, Plan<Finish<S>>>),
}

/// A connector's handlers.
pub struct Handlers<S> {
    by_name: BTreeMap<String, Handler<S>>,
}

impl<S> std::fmt::Debug for Handlers<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl<S> Default for Handlers<S> {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
        }
    }
}

/// The manifest and the handlers do not fit each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A capability without handler.
    #[error("no handler for {0:?}")]
    Missing(String),
    /// A handler that no callable entry of the manifest names.
    #[error("the manifest has no capability {0:?}")]
    Unknown(String),
    /// A read where the manifest says effect, or the other way round.
    #[error("{0:?} is a read on one side and an effect on the other")]
    Kind(String),
}

impl<S: Send + Sync + 'static> Handlers<S> {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a read.
    ///
    /// # Panics
    /// When the name has a handler already: a mistake in the connector.
    #[must_use]
    pub fn read<In, Out, Fut>(
        self,
        name: impl Into<String>,
        read: impl Fn(Arc<S>, CallContext, In) -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        In: DeserializeOwned,
        Out: Serialize,
        Fut: Future<Output = Result<Reply<Out>, SourceError>> + Send + 'static,
    {
        self.add(
            name,
            Handler::Read(Box::new(move |source, call, input| {
                match parse::<In>(&input) {
                    Ok(input) => {
                        let reply = read(source, call, input);
                        Box::pin(async move { to_json(reply.await?) })
                    }
                    Err(error) => Box::pin(async { Err(error) }),
                }
            })),
        )
    }

    /// Adds an effect: `plan` says what would be done and changes nothing; `commit` does it, re-checking at the moment
    /// of effect.
    ///
    /// # Panics
    /// When the name has a handler already: a mistake in the connector.
    #[must_use]
    pub fn effect<In, P, Out, PlanFut, CommitFut, C>(
        self,
        name: impl Into<String>,
        plan: impl Fn(Arc<S>, CallContext, In) -> PlanFut + Send + Sync + 'static,
        commit: C,
    ) -> Self
    where
        In: DeserializeOwned,
        P: Send + 'static,
        Out: Serialize,
        PlanFut: Future<Output = Result<Plan<P>, SourceError>> + Send + 'static,
        CommitFut: Future<Output = Result<Reply<Out>, SourceError>> + Send + 'static,
        C: Fn(Arc<S>, CallContext, P) -> CommitFut + Send + Sync + 'static,
    {
        let commit = Arc::new(commit);
        self.add(
            name,
            Handler::Effect(Box::new(move |source, call, input| {
                let commit = Arc::clone(&commit);
                match parse::<In>(&input) {
                    Ok(input) => {
                        let made = plan(source, call, input);
                        Box::pin(async move { Ok(with_commit(made.await?, commit)) })
                    }
                    Err(error) => Box::pin(async { Err(error) }),
                }
            })),
        )
    }

    fn add(mut self, name: impl Into<String>, handler: Handler<S>) -> Self {
        let name = name.into();
        let earlier = self.by_name.insert(name.clone(), handler);
        assert!(earlier.is_none(), "two handlers for {name:?}");
        self
    }

    /// Whether every callable entry of the manifest has a handler of its kind, and every handler an entry.
    ///
    /// # Errors
    /// The first [`Mismatch`].
    pub fn check(&self, manifest: &Manifest) -> Result<(), Mismatch> {
        for (name, handler) in &self.by_name {
            match manifest.capability(name) {
                Some(entry) if entry.callable() => {
                    if entry.is_read() != matches!(handler, Handler::Read(_)) {
                        return Err(Mismatch::Kind(name.clone()));
                    }
                }
                Some(_) | None => return Err(Mismatch::Unknown(name.clone())),
            }
        }
        for entry in manifest.capabilities.iter().filter(|c| c.callable()) {
            if !self.by_name.contains_key(&entry.name) {
                return Err(Mismatch::Missing(entry.name.clone()));
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Handler<S>> {
        self.by_name.get(name)
    }
}

fn with_commit<S, P, Out, Fut, C>(made: Plan<P>, commit: Arc<C>) -> Plan<Finish<S>>
where
    S: Send + Sync + 'static,
    P: Send + 'static,
    Out: Serialize,
    Fut: Future<Output = Result<Reply<Out>, SourceError>> + Send + 'static,
    C: Fn(Arc<S>, CallContext, P) -> Fut + Send + Sync + 'static,
{
    let Plan {
        plan,
        preview,
        state_token,
        also,
        touched,
        rating,
        summary,
        before,
        warnings,
    } = made;
    Plan {
        plan: Box::new(move |source, call| {
            let done = commit(source, call, plan);
            Box::pin(async move {
                // Past this point the effect is there, whatever becomes of its output.
                to_json(done.await?).map_err(|e| e.effect(plexus_protocol::Effect::Done))
            })
        }),
        preview,
        state_token,
        also,
        touched,
        rating,
        summary,
        before,
        warnings,
    }
}

fn parse<In: DeserializeOwned>(input: &[u8]) -> Result<In, SourceError> {
    // The decoder's own text may quote the input, and messages are logged.
    serde_json::from_slice(input).map_err(|error| {
        SourceError::invalid(format!(
            "the input does not fit this capability (column {} of its canonical form)",
            error.column()
        ))
    })
}

fn to_json<Out: Serialize>(reply: Reply<Out>) -> Result<Reply<Output>, SourceError> {
    match Output::of(&reply.output) {
        Ok(output) => Ok(Reply {
            output,
            touched: reply.touched,
            summary: reply.summary,
            undo: reply.undo,
        }),
        Err(_) => Err(SourceError::internal("the answer is not JSON")),
    }
}
