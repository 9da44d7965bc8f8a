//! What every connector must hold, as a suite that it runs from its own tests.
//!
//! ```text
//! Subject: manifest, profile, program, a world, one example for each capability
//!    ├─ served: the connector behind the real harness, in this process, without a cage ─▶ the rules about calls
//!    └─ caged:  its program behind the real launcher ─────────────────────────────────▶ the rule about the cage
//!                                                        Breach { rule, at, what } ◀─┘
//! ```
//! ```text
//! #[test]
//! fn conforms() {
//!     Subject::new(MANIFEST, PROFILE, env!("CARGO_BIN_EXE_plexus-worker-notes"))
//!         .world(|root| fs::write(root.join("a.md"), "a").unwrap())
//!         .example("read", json!({"path": "a.md"}), &["a.md"])
//!         .conform::<NotesSource>();
//! }
//! ```
//! Served without a cage on purpose: what a connector refuses there it refuses by itself, and not because the kernel
//! does. Each rule starts from a fresh world.
//!
//! Invariants: every breach names its rule; a connector without examples breaks the first rule instead of holding all
//! others by saying nothing.
//!
//! Must not know: any connector, the gateway.

mod breach;
pub mod caged;
mod input;
mod rules;
pub mod served;
mod subject;
mod world;

pub use breach::{Breach, Rule};
pub use caged::find_launcher;
pub use subject::Subject;
