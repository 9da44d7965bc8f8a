//! The vault as an agent meets it: read, searched, attacked.

mod hiding;
mod hostile;
mod names;
mod reading;
mod searching;
pub(crate) mod vaults;
