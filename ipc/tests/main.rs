//! What a gateway and its workers say to each other, and the harness that a worker runs in.

mod frames;
mod harness;
mod manifest;
mod oracles;
mod table;
