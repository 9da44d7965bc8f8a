//! Hands a URL to its opener. That it was handed over says nothing about what became of it.
//!
//! Must not know: what is in a URL.

use crate::{failure::Failure, url::Url};
#[cfg(any(target_os = "macos", test))]
use std::io;
#[cfg(target_os = "macos")]
use std::time::Duration;

/// What opens URLs.
pub(crate) trait Opener: Send + Sync + std::fmt::Debug {
    /// Hands `url` over.
    ///
    /// # Errors
    /// [`Failure::Timeout`]: it may have been handed over. Every other failure: it was not.
    fn open(&self, url: &Url) -> Result<(), Failure>;
}

/// The system's `open`, which leaves Things in the background. The URL is an argument of it for as long as it runs.
#[cfg(target_os = "macos")]
#[derive(Debug)]
pub(crate) struct System;

#[cfg(target_os = "macos")]
impl Opener for System {
    fn open(&self, url: &Url) -> Result<(), Failure> {
        let open = crate::run::Program {
            path: "/usr/bin/open".into(),
            arguments: vec!["-g".into()],
        };
        let ended = open.run(url.expose(), "", Duration::from_secs(10));
        opened(ended.map(|ended| ended.ok))
    }
}

/// What the end of `open` means: whether its status was 0, or why it has none. What it says itself names the URL.
#[cfg(any(target_os = "macos", test))]
fn opened(ended: io::Result<bool>) -> Result<(), Failure> {
    match ended {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::Missing(-10_814)),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Failure::Timeout),
        Err(error) => Err(Failure::Answer(format!(
            "open does not run ({})",
            error.kind()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_may_have_been_handed_over_only_after_a_timeout() {
        assert!(opened(Ok(true)).is_ok());
        let timeout = opened(Err(io::ErrorKind::TimedOut.into()));
        assert!(matches!(timeout, Err(Failure::Timeout)), "{timeout:?}");
        let missing = opened(Ok(false));
        assert!(matches!(missing, Err(Failure::Missing(_))), "{missing:?}");
        let absent = opened(Err(io::ErrorKind::NotFound.into()));
        assert!(matches!(absent, Err(Failure::Answer(_))), "{absent:?}");
    }
}
