//! The stories: one module per subject; each test has a gateway, a home and folders of its own.

mod house;

mod agents;
mod audit;
mod cards;
mod clients;
mod credentials;
mod demo;
mod discovery;
mod documents;
mod enroll;
mod events;
mod expiry;
mod exposure;
mod further_findings;
mod grants;
mod guard;
mod handshake;
mod invoke;
mod kills;
mod known_defects;
mod misbehaviour;
mod once;
mod refresh;
mod revoke;
mod runs;
mod seams;
mod settings;
#[cfg(target_os = "linux")]
mod sleep;
mod sources;
mod starts;
mod upgrades;
mod windows;
mod words;
