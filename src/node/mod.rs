//! One Linux host, read and changed through a root prefix: its IPVS modules, and what loads them at boot.
//!
//! [`mod@command`] is what can be asked; [`facts`] observes, [`decide`] decides, [`install`], [`check`] and [`remove`] act.
//!
//! | folder | what it knows |
//! |---|---|
//! | [`root`] | every path of the host, folders of configuration files, programs in its chroot |
//! | [`mounts`] | which paths persist across reboots |
//! | [`modules`] | kernel modules: installed kernels, their configuration, modprobe and its configuration |
//! | [`host`] | the distribution, its packages, image-based systems |
//! | [`boot`] | what loads modules at boot, and the files that kpx-prep installs for it |
//! | [`netlink`] | requests to the kernel |
//! | [`kube_proxy`] | what kube-proxy makes on a host |

pub mod boot;
pub mod check;
pub mod command;
pub mod command_options;
pub mod decide;
pub mod driven;
pub mod facts;
pub mod host;
pub mod install;
pub mod kube_proxy;
pub mod lock;
pub mod modules;
pub mod mounts;
pub mod netlink;
pub mod remove;
pub mod report;
pub mod root;
#[cfg(feature = "full")]
mod text;
