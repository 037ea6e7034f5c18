//! Kernel modules of a host: which the installed kernels have, and how modprobe loads them.

pub mod kernel;
pub mod kernel_config;
pub mod modprobe;
pub mod modprobe_config;
pub mod name;
