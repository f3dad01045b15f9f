//! Floor: provider.
