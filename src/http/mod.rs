//! Floor: http.
