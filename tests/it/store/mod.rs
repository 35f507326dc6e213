//! The object store and the connections to it, on a real S3 server. A sealed file stands for the bundle, unless a theme
//! runs the whole operator.

mod api;
mod away;
mod config;
mod credential;
mod delivery;
mod faults;
mod outage;
mod proxy;
mod report;
mod secrecy;
mod tls;
