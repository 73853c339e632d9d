//! Dead letters: in the table, redriven, and resolved; the jobs that redrive them.

mod alert;
mod copy;
mod edit;
mod held_letters;
mod jobs;
mod outages;
mod poison;
pub(crate) mod redrive;
mod redriven;
mod redrives;
mod resolver;
mod shown;
mod stubs;
