//! Floor: store.
