//! The `breakwater` binary.
fn main() {}
