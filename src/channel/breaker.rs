//! The breaker (to come).
