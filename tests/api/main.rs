//! REST over the real routers: what a client sees, and what nobody may see.

mod calls;
mod commands;
mod counted;
mod doors;
mod forms;
mod fuzz;
mod harness;
mod limits;
mod logs;
mod messages;
mod rights;
mod scrape;
mod sockets;
