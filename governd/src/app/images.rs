//! Where agents run: unit, container, or the image of the container once its runtime told it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    clock,
    discovery::Discovery,
    engine::{Engine, InstallError},
};
use crate::{
    audit::record::Actor,
    core::{
        inventory::Agent,
        workload::{Container, Image, Pod, Told, Workload},
    },
    policy::{host::Host as _, image::Compiled, value::container::ContainerFacts},
    workload::{
        cgroup::CgroupTree,
        host::{Contained, HostFacts},
        image::{Images, Sockets},
        limits::{IMAGE_TIMEOUT_MS, IMAGES_MAX, PODS_MAX, PODS_TIMEOUT_MS},
        owner,
        pods::{PodSource, Pods},
        table::Known,
    },
};

/// How often the start looks for answers.
const ANSWER_INTERVAL: Duration = Duration::from_millis(5);

/// How long a container whose runtime did not know it is left alone at most, and how often the tree
/// is looked through for containers that no event told of.
const AGAIN: Duration = Duration::from_secs(10);
/// How long it is left alone at first, and then twice as long each time: a runtime may know a
/// container a moment after its first program began.
const AGAIN_AT_FIRST: Duration = Duration::from_secs(1);

/// Containers and their images.
#[derive(Debug)]
pub(super) struct Containers {
    /// `None` if the system gave no thread.
    images: Option<Images>,
    known: HashMap<String, Asked>,
    /// Questions without an answer yet.
    pending: u64,
    /// `None` if Kubernetes is not asked.
    pods: Option<Pods>,
    /// Pods by uid; `None` while there is no answer.
    known_pods: HashMap<String, Option<Arc<Pod>>>,
    /// Something was learned since the host's facts were told.
    is_news: bool,
    /// When the tree was looked through.
    found: Option<Instant>,
}

/// A container that was asked about.
#[derive(Debug)]
struct Asked {
    /// What it is called while its image is not known.
    place: String,
    container: Container,
    at: Option<At>,
    told: Option<Told>,
    /// When it was asked for first.
    asked_first: Instant,
    /// When it was asked for last, and after how long it is asked for again.
    asked: Instant,
    again: Duration,
}

/// A container of which not all is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    /// Its cgroup.
    pub(super) cgroup: u64,
    /// When somebody was asked first.
    pub(super) since: Instant,
}

/// The cgroup of a container that is in no other one.
#[derive(Debug)]
struct At {
    cgroup: Arc<str>,
    /// Uid of its pod.
    pod: Option<String>,
    /// Whether nobody but root can have made it, so that it is what it is called; `None` before
    /// somebody looked.
    is_roots: Option<bool>,
}

impl At {
    fn of(path: &str) -> Option<Self> {
        let (cgroup, _) = owner::sole_container(path)?;
        let pod = owner::workload(cgroup).pod;
        Some(Self { cgroup: cgroup.into(), pod, is_roots: None })
    }
}

impl Asked {
    /// What selectors are told of it; `None` while nothing is known, and where it may be another
    /// container than its cgroup says.
    fn contained(&self, known_pods: &HashMap<String, Option<Arc<Pod>>>) -> Option<Contained> {
        let at = self.at.as_ref().filter(|at| at.is_roots == Some(true))?;
        let pod = at.pod.as_ref().and_then(|uid| known_pods.get(uid)?.as_ref());
        if self.told.is_none() && pod.is_none() {
            return None;
        }
        let image = self.told.as_ref().and_then(|told| told.image.as_ref());
        let named = self.told.as_ref().and_then(|told| told.pod.as_ref());
        let namespace = pod.map(|pod| &pod.namespace).or(named.map(|(namespace, _)| namespace));
        let facts = ContainerFacts {
            image: image.map(|image| Arc::clone(&image.name)),
            digest: image.and_then(|image| image.digest.clone()),
            namespace: namespace.cloned(),
            service_account: pod.and_then(|pod| pod.service_account.clone()),
            labels: pod.map(|pod| pod.labels.clone()).unwrap_or_default(),
        };
        Some(Contained { cgroup: Arc::clone(&at.cgroup), facts })
    }
}

impl Containers {
    pub(super) fn new(pods: Option<&PodSource>) -> Self {
        let pods = pods.and_then(|source| {
            let started = Pods::start(source.clone());
            started.inspect_err(|error| tracing::warn!(%error, "nobody asks for pods")).ok()
        });
        let images = Images::start(Sockets::default());
        let images =
            images.inspect_err(|error| tracing::warn!(%error, "no images of containers")).ok();
        Self {
            images,
            known: HashMap::new(),
            pending: 0,
            pods,
            known_pods: HashMap::new(),
            is_news: false,
            found: None,
        }
    }

    /// What stays the same of a process's unit or container when it is started again. Tells the
    /// process's workload what is known of its container by now.
    pub(super) fn place(&mut self, actor: &Actor) -> Option<String> {
        let workload = actor.process.workload.as_ref()?;
        self.tell_pod(workload);
        let place = workload.place()?;
        let Some(container) = &workload.container else { return Some(place) };
        let path = actor.process.cgroup.as_deref().unwrap_or_default();
        if self.ask(container, &place, path)
            && let Some(known) = self.known.get(&container.id)
        {
            if let Some(told) = &known.told {
                workload.told.get_or_init(|| told.clone());
            }
            return Some(workload.image().map_or(place, image_place));
        }
        Some(place)
    }

    /// Asks for a container that was seen in a cgroup, unless that was done. False if nobody can be
    /// asked now.
    fn ask(&mut self, container: &Container, place: &str, path: &str) -> bool {
        if let Some(known) = self.known.get_mut(&container.id) {
            // Whoever can make a cgroup may call it so: what counts is one that only root can make.
            if known.at.as_ref().is_none_or(|at| at.is_roots == Some(false))
                && known.at.as_ref().is_none_or(|at| !path.starts_with(&*at.cgroup))
                && let Some(at) = At::of(path)
            {
                known.at = Some(at);
                self.is_news = true;
            }
            return true;
        }
        if self.known.len() >= IMAGES_MAX
            || !self.images.as_ref().is_some_and(|images| images.ask(container.clone()))
        {
            return false;
        }
        self.pending += 1;
        let (place, at) = (place.to_owned(), At::of(path));
        let container = container.clone();
        let id = container.id.clone();
        let (asked, again) = (Instant::now(), AGAIN_AT_FIRST);
        let known = Asked { place, container, at, told: None, asked_first: asked, asked, again };
        self.known.insert(id, known);
        true
    }

    /// Asks for all containers of the tree. Gives the number of those for which nobody can be asked
    /// now.
    pub(super) fn find(&mut self, tree: &CgroupTree) -> usize {
        self.found = Some(Instant::now());
        let mut left = 0;
        for path in tree.all() {
            let Some((_, container)) =
                owner::sole_container(&path).filter(|(cgroup, _)| *cgroup == path)
            else {
                continue;
            };
            let workload = owner::workload(&path);
            let place = workload.place().unwrap_or_default();
            left += usize::from(!self.ask(&container, &place, &path));
            self.tell_pod(&workload);
        }
        left
    }

    /// Asks again for what was not known when it was asked for, and looks for what nobody told of.
    pub(super) fn ask_again(&mut self, tree: &CgroupTree) {
        if self.found.is_none_or(|found| found.elapsed() >= AGAIN) {
            self.find(tree);
        }
        for Asked { container, at, told, asked, again, .. } in self.known.values_mut() {
            let runs = || at.as_ref().is_some_and(|at| tree.id(&at.cgroup).is_some());
            if told.is_none()
                && asked.elapsed() >= *again
                && runs()
                && self.images.as_ref().is_some_and(|images| images.ask(container.clone()))
            {
                (*asked, *again) = (Instant::now(), (*again * 2).min(AGAIN));
                self.pending += 1;
            }
        }
    }

    /// Cgroups of containers of which nobody told all that can be told.
    pub(super) fn unanswered(&mut self, tree: &CgroupTree) -> Vec<Unanswered> {
        self.look_at_makers(tree);
        let mut unanswered = Vec::new();
        for Asked { at, told, asked_first, .. } in self.known.values() {
            let Some(at) = at.as_ref().filter(|at| at.is_roots == Some(true)) else { continue };
            let is_pod_known = match (&self.pods, &at.pod) {
                (Some(_), Some(uid)) => self.known_pods.get(uid).is_some_and(Option::is_some),
                _ => true,
            };
            if (told.is_none() || !is_pod_known)
                && let Some(cgroup) = tree.id(&at.cgroup)
            {
                unanswered.push(Unanswered { cgroup, since: *asked_first });
            }
        }
        unanswered.sort_by_key(|one| one.cgroup);
        unanswered
    }

    /// What selectors are told, in the order of the cgroups' paths.
    fn contained(&mut self, tree: &CgroupTree) -> Arc<[Contained]> {
        self.is_news = false;
        self.look_at_makers(tree);
        let told = self.known.values().filter_map(|known| known.contained(&self.known_pods));
        let mut told: Vec<Contained> = told.collect();
        told.sort_by(|a, b| a.cgroup.cmp(&b.cgroup));
        told.into()
    }

    fn look_at_makers(&mut self, tree: &CgroupTree) {
        for at in self.known.values_mut().filter_map(|known| known.at.as_mut()) {
            if at.is_roots.is_none() && tree.id(&at.cgroup).is_some() {
                at.is_roots = Some(tree.is_made_by_root(&at.cgroup));
            }
        }
    }

    /// Forgets those that do not run any more, where there are too many.
    pub(super) fn prune(&mut self, tree: &CgroupTree) {
        if self.known.len() >= IMAGES_MAX {
            let runs = |at: &At| tree.id(&at.cgroup).is_some();
            self.known.retain(|_, known| known.at.as_ref().is_some_and(runs));
            self.is_news = true;
        }
    }

    /// Whether an answer is still to come.
    fn waits(&self) -> bool {
        self.pending > 0 || self.known_pods.values().any(Option::is_none)
    }

    /// Tells a workload what is known of its pod by now, or asks for it.
    fn tell_pod(&mut self, workload: &Workload) {
        let (Some(pods), Some(uid)) = (&self.pods, &workload.pod) else { return };
        if workload.pod_facts.get().is_some() {
            return;
        }
        match self.known_pods.get(uid) {
            Some(Some(pod)) => {
                workload.pod_facts.get_or_init(|| Arc::clone(pod));
            }
            Some(None) => {}
            None if pods.ask(uid.to_owned()) => {
                if self.known_pods.len() >= PODS_MAX {
                    self.known_pods.retain(|uid, _| {
                        let mut known = self.known.values().filter_map(|known| known.at.as_ref());
                        known.any(|at| at.pod.as_ref() == Some(uid))
                    });
                }
                self.known_pods.insert(uid.clone(), None);
            }
            None => {}
        }
    }

    /// Takes what Kubernetes answered. A pod that it does not know is asked for again.
    fn take_pods(&mut self) {
        while let Some((uid, pod)) = self.pods.as_ref().and_then(Pods::next) {
            self.is_news = true;
            match pod {
                Some(pod) => self.known_pods.insert(uid, Some(pod)),
                None => self.known_pods.remove(&uid),
            };
        }
    }

    /// The image of an agent's container.
    fn image(&self, agent: &Agent) -> Option<&Image> {
        let workload = agent.latest.as_ref()?.actor.process.workload.as_ref()?;
        let container = workload.container.as_ref()?;
        self.known.get(&container.id)?.told.as_ref()?.image.as_ref()
    }
}

fn image_place(image: &Image) -> String {
    format!("image {}", image.name)
}

impl Discovery {
    /// Agents in containers are called by the image from now on.
    fn take_images(&mut self) {
        while let Some(answer) = self.containers.images.as_ref().and_then(Images::next) {
            self.containers.pending = self.containers.pending.saturating_sub(1);
            let known = self.containers.known.get_mut(&answer.container);
            let (Some(known), Some(told)) = (known, answer.told) else { continue };
            if let Some(image) = &told.image {
                self.inventory.observe_image(&known.place, &image_place(image));
            }
            known.told = Some(told);
            self.containers.is_news = true;
        }
    }
}

impl Engine {
    /// Asks for the images of all containers that have processes, and waits for the answers as long
    /// as one may take: what was known by its image before must not be found anew at each start.
    pub(super) fn learn_images(&mut self, running: &[Known]) {
        for Known { process, lineage } in running {
            let actor = Actor { process: Arc::clone(process), lineage: Arc::clone(lineage) };
            self.discovery.containers.place(&actor);
        }
        let deadline = Instant::now() + Duration::from_millis(IMAGE_TIMEOUT_MS);
        while self.discovery.containers.pending > 0 && Instant::now() < deadline {
            self.discovery.take_images();
            std::thread::sleep(ANSWER_INTERVAL);
        }
    }

    /// Puts the first policy into force. Where it is about containers, they are asked for before:
    /// what the daemon before knew of them must hold at no moment less.
    ///
    /// # Errors
    /// The policy cannot be compiled for them, or the kernel does not take it.
    pub(super) fn put_first_in_force(&mut self, policy: Arc<Compiled>) -> Result<(), InstallError> {
        self.begin_settling(&policy)?;
        if !self.rulebook.names_containers() {
            return Ok(self.put_in_force(policy)?);
        }
        let asks_kubernetes = self.discovery.containers.pods.is_some();
        let limit_ms = if asks_kubernetes { PODS_TIMEOUT_MS } else { IMAGE_TIMEOUT_MS };
        let deadline = Instant::now() + Duration::from_millis(limit_ms);
        let mut left = self.discovery.containers.find(self.host.cgroup_tree());
        while (left > 0 || self.discovery.containers.waits()) && Instant::now() < deadline {
            std::thread::sleep(ANSWER_INTERVAL);
            self.take_answers();
            if left > 0 {
                left = self.discovery.containers.find(self.host.cgroup_tree());
            }
        }
        self.tell_containers();
        self.tell_unclassified();
        let policy = self.rulebook.compile(&self.host)?;
        Ok(self.put_in_force(policy)?)
    }

    /// Tells the host's facts what was learned of containers; whether that is anything new.
    pub(super) fn tell_containers(&mut self) -> bool {
        if !self.discovery.containers.is_news {
            return false;
        }
        let containers = self.discovery.containers.contained(self.host.cgroup_tree());
        let is_new = *self.host.known_containers() != containers;
        self.host = self.host.clone().with_containers(containers);
        is_new
    }

    /// Reads the host again.
    pub(super) fn read_host(&mut self) {
        let containers = Arc::clone(self.host.known_containers());
        let unclassified = self.host.unclassified().into();
        let host = HostFacts::read(&self.paths).with_containers(containers);
        self.host = host.with_unclassified(unclassified);
    }

    pub(super) fn take_answers(&mut self) {
        self.discovery.take_images();
        self.discovery.containers.take_pods();
    }

    /// Takes what runtimes answered.
    pub(super) fn take_images(&mut self) {
        self.take_answers();
        self.discovery.containers.prune(self.host.cgroup_tree());
        let Discovery { inventory, containers, .. } = &mut self.discovery;
        let registered = inventory.agents().filter(|agent| agent.subject.is_some());
        let seen: Vec<(Arc<str>, Image)> = registered
            .filter_map(|agent| Some((Arc::clone(&agent.id), containers.image(agent)?.clone())))
            .collect();
        let now_ms = clock::now_ms();
        let changes =
            seen.iter().flat_map(|(id, image)| inventory.observe_container(id, image, now_ms));
        let changes = changes.collect();
        self.found(changes);
    }

    /// The image of an agent's container, where it is known.
    pub(super) fn image_of(&self, agent: &Agent) -> Option<String> {
        let Image { name, digest } = self.discovery.containers.image(agent)?;
        let digest = digest.as_ref().map(|digest| format!(" {digest}")).unwrap_or_default();
        Some(format!("{name}{digest}"))
    }
}
