//! The stories: one module per subject; each test has a gateway, a home and folders of its own.

mod house;

mod demo;
mod discovery;
mod enroll;
mod grants;
mod guard;
mod handshake;
mod invoke;
