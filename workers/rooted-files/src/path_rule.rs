//! [`PathRule`]: which paths a grant leaves open, decided elsewhere and asked here.

use std::fmt;

use crate::RelPath;

/// Whether a resolved path may be shown or changed. What the rule means is the caller's: one place holds the semantics
/// of constraints, and this crate must not know it.
#[derive(Clone, Copy)]
pub struct PathRule<'a>(&'a dyn Fn(&RelPath) -> bool);

impl<'a> PathRule<'a> {
    /// The rule that `allows` states.
    #[must_use]
    pub const fn new(allows: &'a dyn Fn(&RelPath) -> bool) -> Self {
        Self(allows)
    }

    /// Every path.
    #[must_use]
    pub const fn all() -> Self {
        Self(&|_| true)
    }

    /// Whether `path`, as resolved, is allowed.
    #[must_use]
    pub fn allows(&self, path: &RelPath) -> bool {
        (self.0)(path)
    }
}

impl fmt::Debug for PathRule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PathRule(…)")
    }
}
