//! The parts of the cluster tests: a real control plane, stand-in nodes, the program under test, the scenarios.

pub(crate) mod before;
pub(crate) mod cluster_state;
pub(crate) mod control_plane;
pub(crate) mod exec;
pub(crate) mod fault_proxy;
pub(crate) mod hosts;
pub(crate) mod kpx_prep;
pub(crate) mod kube_proxy;
pub(crate) mod kubelet;
pub(crate) mod misbehaviour;
pub(crate) mod pod_worker;
pub(crate) mod port_forward;
pub(crate) mod processes;
pub(crate) mod refusals;
pub(crate) mod request;
pub(crate) mod scenario;
pub(crate) mod scenarios;
pub(crate) mod spdy;
pub(crate) mod stand_in;
pub(crate) mod world;
