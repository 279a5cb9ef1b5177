//! Every protocol: the first byte picks it. `cargo +nightly fuzz run any`, with seeds from
//! `cargo xtask fuzz` or the fixtures. The body is a public function of `protocols`, so that it
//! cannot rot.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| protocols::exercise_any(bytes));
