//! Text that is not ours.

/// Text of an agent, a server, a file or a person. It has no form as text: a painter opens it with what makes it safe in
/// its view ([`plexus_protocol::unseen`] says which characters are written out there).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untrusted(String);

impl Untrusted {
    /// This text.
    pub fn of(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// All of these.
    pub(crate) fn all<T: ToString>(texts: &[T]) -> Vec<Self> {
        texts.iter().map(|text| Self(text.to_string())).collect()
    }

    /// Opens it, for painters alone: `with` makes the text safe to show.
    pub fn paint<T>(&self, with: impl FnOnce(&str) -> T) -> T {
        with(&self.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
