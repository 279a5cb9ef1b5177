//! The program: arguments, config, start, wait for a signal, drain.

fn main() {}
