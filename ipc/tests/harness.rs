//! Stories of a worker that serves: what a gateway says, what comes back, and what happened to the world.

mod shelf;
mod talk;

mod calls;
mod commits;
mod life;
