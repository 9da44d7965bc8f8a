//! What there is: connectors as data, the sources that the owner configured of them, and the catalogue of both.
//!
//! Which connectors ship is said in `plexusd`, a line each; everything else about one is its crate, its profile and its
//! docs page.
//! Rights come from the manifest embedded in `plexusd`, never from a worker.

mod budget;
pub mod catalogue;
pub mod code;
pub mod configure;
pub mod detect;
pub mod extensions;
pub mod form;
pub mod labels;
pub mod lending;
pub mod let_go;
pub mod naming;
pub mod narration;
mod pinned;
mod private;
pub mod profile;
mod programs;
mod registered;
mod registry;
mod schema;
pub mod secrets;
mod sockets;

pub use registered::Registered;
pub use registry::{Connector, ConnectorHead, Registry};

#[cfg(test)]
extern crate self as plexus_sources;

#[cfg(test)]
#[expect(
    unreachable_pub,
    reason = "the daemon's own list, which the tests read"
)]
#[path = "../../plexusd/src/shipped.rs"]
mod shipped;
