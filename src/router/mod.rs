//! Floor: router.
