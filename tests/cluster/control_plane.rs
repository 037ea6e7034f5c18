//! etcd, kube-apiserver and kube-controller-manager on loopback, with certificates and objects by kubeadm.

use std::fs;
use std::net::TcpListener;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::processes::{Process, output};

/// A running control plane; it ends when dropped.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    processes: Vec<Process>,
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
}

/// A port that nobody listens on, below those that the kernel gives to connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time start at different places.
    let start = u16::try_from(std::process::id() % 10_000).expect("less than 10,000");
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::SeqCst)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The folder of etcd, Kubernetes' programs and kubeadm.
///
/// The first caller has it built where it is not there. Where that fails, every later caller fails at once: building it again
/// for each scenario takes hours and fails the same way.
pub(crate) fn binaries() -> &'static Path {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/control-plane");
        panic::catch_unwind(|| PathBuf::from(output(&mut Command::new(script)).trim())).ok()
    });
    folder.as_deref().expect("tests/cluster/control-plane failed before: see the first scenario that failed")
}

impl ControlPlane {
    /// Starts the programs, in a folder of their own.
    pub(crate) fn start(folder: PathBuf) -> Self {
        let binaries = binaries().to_owned();
        let plane = Self { processes: Vec::new(), binaries, folder, port: free_port() };
        assert!(plane.program("kubeadm").exists(), "{} has no kubeadm", plane.binaries.display());
        plane.certificates();
        plane.programs()
    }

    fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// The kubeconfig of a member of `system:masters`: kubeadm's own administrator is none since 1.29.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join(format!("{}.conf", self.administrator()))
    }

    fn administrator(&self) -> &'static str {
        if self.minor() >= 29 { "super-admin" } else { "admin" }
    }

    /// Whether its kube-proxy ends where it cannot run ipvs, as since 1.26; before, it runs iptables.
    pub(crate) fn exits_without_ipvs(&self) -> bool {
        self.minor() >= 26
    }

    /// Whether the API server itself refuses pods by the namespace's label: since 1.23, where that is on by default.
    pub(crate) fn enforces_pod_security(&self) -> bool {
        self.minor() >= 23
    }

    /// Whether it serves `CronJobs` as `batch/v1`.
    pub(crate) fn serves_cron_jobs(&self) -> bool {
        self.minor() >= 21
    }

    /// The API server's port, on loopback.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// 20 of `v1.20.2`.
    fn minor(&self) -> u32 {
        let version = self.version();
        version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_else(|| panic!("{version}"))
    }

    /// `v1.20.2`
    pub(crate) fn version(&self) -> String {
        output(Command::new(self.program("kubeadm")).args(["version", "-o", "short"])).trim().to_owned()
    }

    /// What serves as every kubelet's certificate, and its key.
    pub(crate) fn kubelet_certificate(&self) -> (PathBuf, PathBuf) {
        (self.folder.join("pki/apiserver.crt"), self.folder.join("pki/apiserver.key"))
    }

    fn kubeadm(&self, phase: &[&str], rest: &[&str]) {
        let config = self.file("kubeadm.yaml");
        let mut command = Command::new(self.program("kubeadm"));
        output(command.args(["init", "phase"]).args(phase).args(["--config", &config]).args(rest));
    }

    fn certificates(&self) {
        let version = self.version();
        let api = match self.minor() {
            ..22 => "v1beta2",
            22..31 => "v1beta3",
            31.. => "v1beta4",
        };
        // Loopback is no advertise address to kubeadm; clients go by the endpoint.
        let config = format!(
            "apiVersion: kubeadm.k8s.io/{api}\nkind: InitConfiguration\n\
             localAPIEndpoint: {{advertiseAddress: 192.0.2.1, bindPort: {port}}}\nnodeRegistration: {{name: node-1}}\n---\n\
             apiVersion: kubeadm.k8s.io/{api}\nkind: ClusterConfiguration\nkubernetesVersion: {version}\n\
             certificatesDir: {pki}\ncontrolPlaneEndpoint: 127.0.0.1:{port}\nnetworking: {{podSubnet: 10.244.0.0/16}}\n",
            port = self.port,
            pki = self.file("pki"),
        );
        fs::write(self.folder.join("kubeadm.yaml"), config).expect("kubeadm's configuration");
        self.kubeadm(&["certs", "all"], &[]);
        let folder = self.file("");
        self.kubeadm(&["kubeconfig", self.administrator()], &["--kubeconfig-dir", &folder]);
    }

    fn programs(mut self) -> Self {
        let (client, peer) = (free_port(), free_port());
        let etcd = [
            format!("--data-dir={}", self.file("etcd")),
            format!("--listen-client-urls=http://127.0.0.1:{client}"),
            format!("--advertise-client-urls=http://127.0.0.1:{client}"),
            format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
            format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        ];
        let pki = |name: &str| self.file(&format!("pki/{name}"));
        let api_server = [
            format!("--etcd-servers=http://127.0.0.1:{client}"),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            // No controller makes tokens here, and none takes the taint away again that a new node gets.
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/12".to_owned(),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!("--client-ca-file={}", pki("ca.crt")),
            format!("--tls-cert-file={}", pki("apiserver.crt")),
            format!("--tls-private-key-file={}", pki("apiserver.key")),
            format!("--kubelet-client-certificate={}", pki("apiserver-kubelet-client.crt")),
            format!("--kubelet-client-key={}", pki("apiserver-kubelet-client.key")),
            format!("--service-account-key-file={}", pki("sa.pub")),
            format!("--service-account-signing-key-file={}", pki("sa.key")),
        ];
        let mut manager = vec![
            // Not its own user: that may only start controllers with accounts of their own, which wait for tokens.
            format!("--kubeconfig={}", self.kubeconfig().display()),
            "--bind-address=127.0.0.1".to_owned(),
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
            "--controllers=daemonset,garbagecollector".to_owned(),
            "--kube-api-qps=1000".to_owned(),
            "--kube-api-burst=2000".to_owned(),
        ];
        // Until 1.23 it serves without TLS on all addresses unless told not to; later ones do not know the flag.
        let help = output(Command::new(self.program("kube-controller-manager")).arg("--help"));
        if help.contains(" --port int") {
            manager.push("--port=0".to_owned());
        }
        let all = [("etcd", etcd.as_slice()), ("kube-apiserver", &api_server), ("kube-controller-manager", &manager)];
        self.processes = all.map(|(name, flags)| Process::start(&self.program(name), flags, &self.folder)).into();
        self
    }

    /// A client of `system:masters`, as soon as the API server is ready; nothing if a part ended before, as when another
    /// program took a port that was free when it was chosen.
    pub(crate) async fn client(&mut self) -> Option<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig()).expect("kubeadm's kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("kubeadm's kubeconfig")).expect("a client");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let ready = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            if client.request_text(ready).await.is_ok_and(|text| text == "ok") {
                return Some(client);
            }
            if self.processes.iter_mut().any(Process::ended) {
                return None;
            }
            assert!(Instant::now() < deadline, "the API server is not ready: see {}", self.folder.display());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// kube-proxy's objects and the cluster's configuration as kubeadm leaves them.
    pub(crate) fn install_kube_proxy(&self) {
        let kubeconfig = self.kubeconfig().display().to_string();
        self.kubeadm(&["upload-config", "kubeadm"], &["--kubeconfig", &kubeconfig]);
        self.kubeadm(&["addon", "kube-proxy"], &["--kubeconfig", &kubeconfig]);
    }
}
