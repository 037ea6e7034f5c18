//! The API server: connecting and calling, its objects, and the lock that allows one run at a time.

pub mod calls;
pub mod connection;
pub mod errors;
pub mod listed;
pub mod lock;
pub mod objects;
pub mod patience;
pub mod pod_objects;
pub mod streams;
pub mod watched;
