//! One Linux host, read and changed through a root prefix: its IPVS modules, and what loads them at boot.
//!
//! [`facts`] observes, [`decide`] decides, [`install`], [`check`] and [`remove`] act.

pub mod boot;
pub mod boot_files;
pub mod boot_findings;
pub mod boot_lists;
pub mod boot_script;
pub mod check;
pub mod chroot;
pub mod classic_script;
pub mod cni;
pub mod conf_files;
pub mod decide;
pub mod facts;
pub mod file_decision;
pub mod host;
pub mod immutable;
pub mod install;
pub mod kernel;
pub mod kernel_config;
pub mod kube_proxy;
pub mod lock;
pub mod mechanism;
pub mod modprobe;
pub mod modprobe_config;
pub mod module_findings;
pub mod module_name;
pub mod modules;
mod mount_table;
pub mod mounts;
pub mod netlink;
pub mod network_manager;
pub mod packages;
pub mod remove;
pub mod report;
pub mod request;
pub mod root;
mod shell_words;
pub mod transaction;
pub mod undo;
pub mod units;
