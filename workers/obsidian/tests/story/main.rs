//! The vault as an agent meets it: read, searched, attacked.

mod hostile;
mod reading;
mod searching;
mod vaults;
