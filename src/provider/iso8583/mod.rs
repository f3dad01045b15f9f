//! ISO 8583.
pub mod codec;
pub mod field;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;
