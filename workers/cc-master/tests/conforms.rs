//! The cc-master connector against what every connector must hold. Its effects need a gateway that makes runs, and a folder for
//! boards: the stories `orchestration` have both.

use plexus_conformance::Subject;
use plexus_worker_cc_master::{CcMasterSource, MANIFEST};

const STORIES: &str = "it needs a board that is kept, and a gateway: the stories `orchestration`";

#[test]
fn conforms() {
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/cc-master.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-cc-master"),
    )
    .elsewhere(
        "board.status",
        "it lists none without a folder; tests/served.rs reads boards",
    )
    .elsewhere("board.create", STORIES)
    .elsewhere("board.stop", STORIES)
    .elsewhere("orchestration.run", STORIES)
    .elsewhere("agent.dispatch", STORIES)
    .elsewhere("session.launch", STORIES)
    .conform::<CcMasterSource>();
}
