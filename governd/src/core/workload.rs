//! What a process belongs to on its host: systemd unit, container, pod.
//!
//! All processes of a cgroup share one [`Workload`]. What only a container runtime or Kubernetes
//! can tell is filled in when it has answered, for all of them at once; until then, and where
//! nobody answers, it is not known.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// What a cgroup's path says of who it belongs to, and what was learned of that since.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Workload {
    /// Unit of the system manager, such as `nginx.service`.
    pub unit: Option<String>,
    /// Unit of a user's manager, such as `app-claude.service`.
    pub user_unit: Option<String>,
    /// Login session, from `session-N.scope`.
    pub session: Option<String>,
    /// The innermost container.
    pub container: Option<Container>,
    /// Uid of the Kubernetes pod, with dashes.
    pub pod: Option<String>,
    /// What the container's runtime told.
    pub told: OnceLock<Told>,
    /// What Kubernetes told of the pod.
    pub pod_facts: OnceLock<Arc<Pod>>,
}

/// A container, by its cgroup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Container {
    /// The runtime that named the cgroup.
    pub runtime: Runtime,
    /// The id, usually 64 hexadecimal digits; for LXC and nspawn the name.
    pub id: String,
}

/// A container runtime.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Runtime {
    /// Docker Engine.
    Docker,
    /// containerd, by the CRI or nerdctl.
    Containerd,
    /// CRI-O.
    Crio,
    /// Podman.
    Podman,
    /// LXC and Incus.
    Lxc,
    /// systemd-nspawn and other machines of machined.
    Machine,
    /// The path does not tell.
    Unknown,
}

impl Runtime {
    /// The word that records and the command line use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
            Self::Machine => "machine",
            Self::Unknown => "unknown",
        }
    }
}

/// What a runtime says of a container.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Told {
    /// Its image.
    pub image: Option<Image>,
    /// Namespace and name of the pod that it is a part of.
    pub pod: Option<(Arc<str>, Arc<str>)>,
}

/// The image of a container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// As whoever started the container named it, such as `ghcr.io/acme/bot:1.2`.
    pub name: Arc<str>,
    /// `sha256:` and its digest, where the runtime told it.
    pub digest: Option<Arc<str>>,
}

impl Image {
    /// Its tag, if it was named by one.
    pub fn tag(&self) -> Option<&str> {
        let name = self.name.split('@').next()?;
        let last = name.rsplit('/').next()?;
        last.split_once(':').map(|(_, tag)| tag)
    }
}

/// A pod, as Kubernetes describes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Service account that it runs as.
    pub service_account: Option<Arc<str>>,
    /// What controls it, such as `ReplicaSet/invoice-bot-6c9d`.
    pub controller: Option<Arc<str>>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Workload {
    /// Whether nothing is known, as of a process in the root cgroup.
    pub fn is_nobodys(&self) -> bool {
        let Self { unit, user_unit, session, container, pod, told: _, pod_facts: _ } = self;
        unit.is_none()
            && user_unit.is_none()
            && session.is_none()
            && container.is_none()
            && pod.is_none()
    }

    /// The image of its container, once it is known.
    pub fn image(&self) -> Option<&Image> {
        self.told.get()?.image.as_ref()
    }

    /// Namespace and name of its pod, from whoever told them.
    pub fn pod_name(&self) -> Option<(&str, &str)> {
        let by_kubernetes = self.pod_facts.get().map(|pod| (&*pod.namespace, &*pod.name));
        by_kubernetes.or_else(|| {
            let (namespace, name) = self.told.get()?.pod.as_ref()?;
            Some((&**namespace, &**name))
        })
    }

    /// What stays the same when the workload is started again: the unit or, for a container, its
    /// short id (its image is for the runtime to tell). Login sessions and transient units have no
    /// such name.
    pub fn place(&self) -> Option<String> {
        if let Some(container) = &self.container {
            let short: String = container.id.chars().take(12).collect();
            return Some(format!("{}:{short}", container.runtime.word()));
        }
        let unit = self.user_unit.as_deref().or(self.unit.as_deref())?;
        let is_transient = unit.ends_with(".scope")
            || unit.starts_with("run-")
            || unit.starts_with("user@")
            || self.session.is_some();
        (!is_transient).then(|| unit.to_owned())
    }
}
