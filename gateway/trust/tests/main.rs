//! The machine that decides about trust, held against its rules, a model and any bytes.

mod fold;
mod model;
mod oracles;
mod stories;
mod support;
