//! Breakwater: a payment orchestrator. Merchants call one REST API; Breakwater carries each payment and refund over third-party
//! channels that fail, stall and lie, and nobody is charged twice or loses a payment.
//!
//! This file is the map. A module imports only from floors below its own (`tests/tidy.rs` reads the imports and fails otherwise):
//!
//! ```text
//! main.rs  app.rs (the only place that wires)  config/ (a section a file)  telemetry/  cli/ (one file a subcommand)
//! 4  http/      routes, request and reply types, problem+json
//! 3  router/    the Router actor and the flows: payment.rs and refund.rs are the two scripts to read    poller.rs   finds what is due
//!    notifier/  delivers webhooks to merchants     representation/  payments and refunds as merchants read them
//! 2  channel/   one actor per channel: transport, breaker, supervisor      alert/  what somebody must know of now, by mail and text message
//! 1  store/     every SQL statement, the pools, the group-commit journal      provider/  third parties' protocols: pure encode and decode
//! 0  domain/    money, ids, state machines, routing plan: no IO, no async, no clock, no floats      clock.rs  time, movable by hand    keys/  RSA, key stores, sealing    crash.rs  where a test lets it die    lasting.rs  what is begun again when it was lost
//!
//! sandbox/   the providers' side of the wire, for demo, tests and benches: nothing above imports it
//! cluster/   a private Postgres from the machine's own binaries, for demo and tests: nothing above imports it
//! ```
//!
//! Where to start reading: `domain/attempt.rs` (what can be known about one try), `router/payment.rs` (one payment, top to bottom),
//! `store/journal/mod.rs` (how it gets to disk before it is acted on).

pub mod alert;
pub mod app;
pub mod channel;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod crash;
pub mod domain;
pub mod http;
pub mod keys;
pub mod lasting;
pub mod notifier;
pub mod poller;
pub mod provider;
pub mod representation;
pub mod router;
pub mod sandbox;
pub mod store;
pub mod telemetry;
