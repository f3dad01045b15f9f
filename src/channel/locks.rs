//! The locks and atomics through which threads share a guard: the standard library's, under one name.
//!
//! `tests/guard_interleavings.rs` compiles the guard's own files a second time over locks that a scheduler drives, and runs them in thousands of
//! orders. For that, these and nothing else of the kind may be named in `guard/`.

pub(super) use std::sync::atomic;
pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
