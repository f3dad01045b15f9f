//! The specification: flows over real Postgres, real sockets and the sandbox. Each test's name is a sentence of it.
#![allow(missing_docs, reason = "a test's name is its documentation")]

mod database;
mod faults_of_ours;
mod journal;
mod races;
mod truth_table;
mod webhook_receiver;
mod webhooks;
mod world;
