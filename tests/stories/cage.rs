//! A hostile worker in each connector's place: started by the real gateway, in the cage of the connector's own profile.
//!
//! `probes` tries everything that a process can try, inside and outside of the cage; `descriptor3` says everything on
//! descriptor 3 that a worker should not. Both write their table into `tests/reports/sandbox-probes.md`, and fail where it differs
//! from what they see.

mod descriptor3;
mod probes;
mod scene;
