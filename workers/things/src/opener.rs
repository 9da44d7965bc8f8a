//! Hands a URL to whoever opens it. That it was handed over says nothing about what became of it.
//!
//! Must not know: what is in a URL.

use crate::{failure::Failure, url::Url};
#[cfg(target_os = "macos")]
use std::{io, time::Duration};

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
        match open.run(url.expose(), "", Duration::from_secs(10)) {
            Ok(ended) if ended.ok => Ok(()),
            // What it says names the URL.
            Ok(_) => Err(Failure::Missing(-10_814)),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Failure::Timeout),
            Err(error) => Err(Failure::Answer(format!(
                "open does not run ({})",
                error.kind()
            ))),
        }
    }
}
