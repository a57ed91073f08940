//! `tidegate bench` as a process: what it counts is right, and nothing a server does keeps it for ever. No test looks at how
//! fast anything is.

mod exits;
mod loads;
mod support;
