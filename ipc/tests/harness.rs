//! Stories of a worker that serves: what a gateway says, what comes back, and what happened to the world.

#[path = "harness/shelf.rs"]
mod shelf;
#[path = "harness/talk.rs"]
mod talk;

#[path = "harness/calls.rs"]
mod calls;
#[path = "harness/commits.rs"]
mod commits;
#[path = "harness/life.rs"]
mod life;
