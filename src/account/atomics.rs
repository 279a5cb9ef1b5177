//! The atomics of the charge, by one name: `tests/interleave` compiles [`super::word`] and
//! [`super::walk`] with others, whose every order of steps it can choose.

pub(super) use portable_atomic::AtomicU128;
pub(super) use std::sync::atomic::{AtomicU64, Ordering};
