//! Where the gateway listens beyond loopback. A change counts from the next start.

use crate::Done;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The addresses of this machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Interfaces {}

/// The addresses of this machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct LocalAddresses {
    /// Each with its interface.
    pub interfaces: Vec<LocalAddress>,
}

/// An address of this machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct LocalAddress {
    /// Its interface.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Whether only this machine reaches it.
    pub internal: bool,
}

/// What is set and what is in force.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {}

/// What is set and what is in force.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkState {
    /// The addresses that are set.
    pub bind_addresses: Vec<IpAddr>,
    /// Those that are listened on.
    pub active: Vec<IpAddr>,
    /// The port.
    pub bound_port: u16,
    /// The host names that are set.
    pub public_hostnames: Vec<String>,
    /// Those that are accepted.
    pub active_public_hostnames: Vec<String>,
}

/// Sets addresses and host names.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The addresses to listen on.
    pub bind_addresses: Option<Vec<String>>,
    /// The host names; absent, they stay.
    pub public_hostnames: Option<Vec<String>>,
}

/// They are set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedNetwork {
    /// They are.
    pub ok: Done,
    /// The addresses that are set.
    pub bind_addresses: Vec<IpAddr>,
    /// The host names that are set.
    pub public_hostnames: Vec<String>,
    /// Always true.
    pub restart_required: bool,
}
