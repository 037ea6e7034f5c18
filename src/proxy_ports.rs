//! The ports on which kube-proxy answers about itself.

/// kube-proxy's default metrics port (`ProxyStatusPort` in pkg/cluster/ports/ports.go).
pub const METRICS_PORT: u16 = 10249;
/// kube-proxy's default health port (`ProxyHealthzPort` in pkg/cluster/ports/ports.go).
pub const HEALTHZ_PORT: u16 = 10256;

/// The ports of a kube-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyPorts {
    /// That of `metricsBindAddress`, which also answers with the mode.
    pub metrics: u16,
    /// That of `healthzBindAddress`.
    pub healthz: u16,
}

impl Default for ProxyPorts {
    fn default() -> Self {
        Self { metrics: METRICS_PORT, healthz: HEALTHZ_PORT }
    }
}
