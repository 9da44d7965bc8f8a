//! The files below a root: read, attacked, written.

mod at_hand;
mod attacks;
mod paths;
mod properties;
mod tree;
mod writes;
