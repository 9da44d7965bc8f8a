//! The suite for connectors, held to account itself.

mod faults;
mod tried;
