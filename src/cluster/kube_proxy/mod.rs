//! kube-proxy in a cluster: its `DaemonSet`, `ConfigMap` and pods, the backups, and the verification of its mode.

pub mod answers;
pub mod backup;
pub mod command;
pub mod config_map;
pub mod daemon_set;
pub mod log_lines;
pub mod parking;
pub mod pod;
pub mod proof;
pub mod scheduling;
pub mod services;
