//! The providers' side of the wire.
