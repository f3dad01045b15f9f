//! The specification: flows over real Postgres, real sockets and the sandbox. Each test's name is a sentence of it.
#![allow(missing_docs, reason = "a test's name is its documentation")]

mod alipay;
mod asking;
mod contract;
mod database;
mod faults_of_ours;
mod guards;
mod inbox;
mod input;
mod journal;
mod limits;
mod lists;
mod machine;
mod operations;
mod operators;
mod overrides;
mod parts;
mod races;
mod review;
mod secrets;
mod tenancy;
mod timeline;
mod tls;
mod truth_table;
mod unheard;
mod webhook_receiver;
mod webhooks;
mod wechatpay;
mod world;
