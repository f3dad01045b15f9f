//! Floor 0: what a payment is, and what may happen to it. No IO, no async, no clock (time is passed in), no floats; it imports nothing else
//! of the crate but the reading types of time.

pub mod operation;

pub use operation::{CallClass, Operation, OperationClass};
