//! Request parameters.
