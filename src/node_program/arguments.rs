//! The command line of the node program: that of `kpx-prep node`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kpx_prep::exit_code::Refusal;
use kpx_prep::go_duration;
use kpx_prep::kubernetes_version::KubernetesVersion;
use kpx_prep::node::boot::mechanism::Mechanism;
use kpx_prep::node::command::{
    BridgeCommand, CleanCommand, InstallCommand, KubeProxyOptions, ModuleOptions, NodeCommand, SurveyCommand,
};
use lexopt::prelude::{Long, Short, Value};

/// What it is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) work: Work,
    pub(crate) root: PathBuf,
    /// Interval of the heartbeat, and the time for which it may act.
    pub(crate) driven: Option<(Duration, Duration)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Version,
    Command(NodeCommand),
    /// What the container runs; with `--prepare` it installs first.
    Helper(Option<NodeCommand>),
}

/// All options, whatever the command: which of them it takes is checked by [`Options::work`].
#[derive(Default)]
struct Options {
    given: Vec<&'static str>,
    modules: ModuleOptions,
    kube_proxy: KubeProxyOptions,
    survey: SurveyCommand,
    clean: CleanCommand,
    bridge: BridgeCommand,
    root: Option<PathBuf>,
    heartbeat: Option<Duration>,
    lease: Option<Duration>,
    force: bool,
    dry_run: bool,
    unload: bool,
    prepare: bool,
}

const EVERYWHERE: [&str; 4] = ["root", "output", "heartbeat", "lease"];
const KUBE_PROXY: [&str; 5] = ["metrics-port", "healthz-port", "pod", "service-count", "tools"];
const MODULES: [&str; 8] =
    ["mode", "modules", "scheduler", "kubernetes-version", "boot-mechanism", "load", "no-load", "tools"];

impl Arguments {
    pub(crate) fn read(mut parser: lexopt::Parser) -> anyhow::Result<Self> {
        let wrong = |error: lexopt::Error| Refusal::usage(format!("{error}; nothing was changed"));
        let (mut options, mut name) = (Options::default(), None);
        while let Some(argument) = parser.next().map_err(wrong)? {
            match argument {
                Long("version") | Short('V') => {
                    return Ok(Self { work: Work::Version, root: PathBuf::new(), driven: None });
                }
                Value(value) if name.is_none() => name = Some(value.to_string_lossy().into_owned()),
                Short('o') => options.take("output", &mut parser).map_err(wrong)?,
                Long(option) => {
                    let option = option.to_owned();
                    options.take(&option, &mut parser).map_err(wrong)?;
                }
                other => return Err(wrong(other.unexpected())),
            }
        }
        let driven = match (options.heartbeat, options.lease) {
            (Some(heartbeat), Some(lease)) => Some((heartbeat, lease)),
            (None, None) => None,
            _ => return Err(Refusal::usage("--heartbeat and --lease require each other; nothing was changed")),
        };
        let root = options.root.take().unwrap_or_else(|| "/".into());
        let name = name.ok_or_else(|| Refusal::usage("no command; nothing was changed"))?;
        Ok(Self { work: options.work(&name)?, root, driven })
    }
}

fn text(value: OsString) -> Result<String, lexopt::Error> {
    value.into_string().map_err(lexopt::Error::NonUnicodeValue)
}

fn parsed<T: FromStr>(parser: &mut lexopt::Parser) -> Result<T, lexopt::Error>
where
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let value = text(parser.value()?)?;
    value.parse().map_err(|error: T::Err| lexopt::Error::ParsingFailed { value, error: error.into() })
}

fn duration(parser: &mut lexopt::Parser) -> Result<Duration, lexopt::Error> {
    let value = text(parser.value()?)?;
    let nanoseconds = go_duration::duration(&value).ok().and_then(|nanoseconds| u64::try_from(nanoseconds).ok());
    nanoseconds.map(Duration::from_nanos).ok_or_else(|| format!("{value:?} is not a duration such as 30s").into())
}

impl Options {
    fn take(&mut self, option: &str, parser: &mut lexopt::Parser) -> Result<(), lexopt::Error> {
        let clean = &mut self.clean;
        match option {
            "mode" => self.modules.mode = Some(parsed(parser)?),
            "modules" => self.modules.modules = Some(text(parser.value()?)?),
            "scheduler" => self.modules.scheduler = Some(text(parser.value()?)?),
            "kubernetes-version" => self.modules.minor = Some(parsed::<KubernetesVersion>(parser)?.minor()),
            "boot-mechanism" => {
                let name = text(parser.value()?)?;
                let mechanism = Mechanism::named(&name).ok_or_else(|| format!("no boot mechanism {name:?}"))?;
                self.modules.mechanism = Some(mechanism);
            }
            "load" => self.modules.load = Some(true),
            "no-load" => self.modules.load = Some(false),
            "metrics-port" => self.kube_proxy.ports.metrics = parsed(parser)?,
            "healthz-port" => self.kube_proxy.ports.healthz = parsed(parser)?,
            "pod" => self.kube_proxy.pods.push(text(parser.value()?)?),
            "service-count" => self.kube_proxy.services = parsed(parser)?,
            "tools" => {
                let tools = PathBuf::from(parser.value()?);
                (self.kube_proxy.tools, self.modules.tools) = (Some(tools.clone()), Some(tools));
            }
            "ask" => self.survey.ask.push(parsed(parser)?),
            "from" => clean.from = Some(parsed(parser)?),
            "services" => clean.services = Some(parser.value()?.into()),
            "wait" => clean.wait = duration(parser)?,
            "drain" => clean.drain = duration(parser)?,
            "to" => self.bridge.to = Some(parsed(parser)?),
            "keep" => self.bridge.keep = duration(parser)?,
            "keep-leftovers" => clean.keep_leftovers = true,
            "no-kube-proxy" => clean.no_kube_proxy = true,
            "api-service" => clean.api_service = Some(parsed(parser)?),
            "keep-virtual-servers" => clean.keep_virtual_servers = true,
            "force" => self.force = true,
            "dry-run" => self.dry_run = true,
            "unload" => self.unload = true,
            "prepare" => self.prepare = true,
            "root" => self.root = Some(parser.value()?.into()),
            "heartbeat" => self.heartbeat = Some(duration(parser)?),
            "lease" => self.lease = Some(duration(parser)?),
            "output" => {
                if parser.value()? != "json" {
                    return Err("its only output format is json".into());
                }
            }
            other => return Err(lexopt::Error::UnexpectedOption(format!("--{other}"))),
        }
        // The match knows all of them.
        let known = [&EVERYWHERE[..], &KUBE_PROXY, &MODULES, &OTHERS].concat();
        self.given.extend(known.into_iter().find(|name| *name == option));
        Ok(())
    }

    fn work(self, name: &str) -> anyhow::Result<Work> {
        let takes: Vec<&str> = match name {
            "install" => [&MODULES[..], &["force", "dry-run"]].concat(),
            "check" => MODULES.to_vec(),
            "remove" => vec!["mode", "unload"],
            "survey" => [&KUBE_PROXY[..], &["mode", "scheduler", "kubernetes-version", "ask"]].concat(),
            "leftovers" => KUBE_PROXY.to_vec(),
            "bridge" => [&KUBE_PROXY[..], &["to", "keep"]].concat(),
            "clean" => [
                &KUBE_PROXY[..],
                &["from", "dry-run", "services", "wait", "drain", "keep-virtual-servers", "keep-leftovers"],
                &["no-kube-proxy", "api-service"],
            ]
            .concat(),
            "helper" => vec!["prepare", "mode", "scheduler", "kubernetes-version"],
            other => return Err(Refusal::usage(format!("no command {other:?}; nothing was changed"))),
        };
        if let Some(other) = self.given.iter().find(|given| !EVERYWHERE.contains(given) && !takes.contains(given)) {
            return Err(Refusal::usage(format!("{name} has no option --{other}; nothing was changed")));
        }
        let Self { modules, kube_proxy, survey, clean, bridge, force, dry_run, unload, prepare, .. } = self;
        Ok(Work::Command(match name {
            "install" => NodeCommand::Install(InstallCommand { modules, dry_run, force }),
            "check" => NodeCommand::Check(modules),
            "remove" => NodeCommand::Remove { mode: modules.mode, unload },
            "survey" => {
                let ModuleOptions { mode, scheduler, minor, .. } = modules;
                NodeCommand::Survey(SurveyCommand { mode, scheduler, minor, kube_proxy, ..survey })
            }
            "leftovers" => NodeCommand::Leftovers(kube_proxy),
            "bridge" => NodeCommand::Bridge(BridgeCommand { kube_proxy, ..bridge }),
            "clean" => NodeCommand::Clean(CleanCommand { dry_run, kube_proxy, ..clean }),
            _ => {
                let modules = ModuleOptions { load: Some(true), ..modules };
                let install = NodeCommand::Install(InstallCommand { modules, dry_run, force });
                return Ok(Work::Helper(prepare.then_some(install)));
            }
        }))
    }
}

/// Those of single commands.
const OTHERS: [&str; 15] = [
    "ask",
    "from",
    "services",
    "wait",
    "drain",
    "to",
    "keep",
    "keep-leftovers",
    "keep-virtual-servers",
    "no-kube-proxy",
    "api-service",
    "force",
    "dry-run",
    "unload",
    "prepare",
];
