//! The stories: one module per subject; each test has a gateway, a home and folders of its own.

mod house;

mod agents;
mod demo;
mod discovery;
mod enroll;
mod events;
mod grants;
mod guard;
mod handshake;
mod invoke;
mod once;
mod refresh;
mod revoke;
mod runs;
mod windows;
