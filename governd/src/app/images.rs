//! Where agents run: unit, container, or the image of the container once its runtime told it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{clock, discovery::Discovery, engine::Engine};
use crate::{
    audit::record::Actor,
    core::{
        inventory::Agent,
        workload::{Image, Pod, Told, Workload},
    },
    workload::{
        image::{Images, Sockets},
        limits::{IMAGE_TIMEOUT_MS, IMAGES_MAX, PODS_MAX},
        pods::{PodSource, Pods},
        table::Known,
    },
};

/// How often the start looks for answers.
const ANSWER_INTERVAL: Duration = Duration::from_millis(5);

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
}

/// A container that was asked about.
#[derive(Debug)]
struct Asked {
    /// What it is called while its image is not known.
    place: String,
    told: Option<Told>,
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
        Self { images, known: HashMap::new(), pending: 0, pods, known_pods: HashMap::new() }
    }

    /// What stays the same of a process's unit or container when it is started again. Tells the
    /// process's workload what is known of its container by now.
    pub(super) fn place(&mut self, actor: &Actor) -> Option<String> {
        let workload = actor.process.workload.as_ref()?;
        self.tell_pod(workload);
        let place = workload.place()?;
        let Some(container) = &workload.container else { return Some(place) };
        if let Some(known) = self.known.get(&container.id) {
            if let Some(told) = &known.told {
                workload.told.get_or_init(|| told.clone());
            }
            return Some(workload.image().map_or(place, image_place));
        }
        if self.images.as_ref().is_some_and(|images| images.ask(container.clone())) {
            if self.known.len() >= IMAGES_MAX {
                self.known.clear();
            }
            self.pending += 1;
            let asked = Asked { place: place.clone(), told: None };
            self.known.insert(container.id.clone(), asked);
        }
        Some(place)
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
            None if pods.ask(uid) => {
                if self.known_pods.len() >= PODS_MAX {
                    self.known_pods.clear();
                }
                self.known_pods.insert(uid.clone(), None);
            }
            None => {}
        }
    }

    /// Takes what Kubernetes answered. A pod that it does not know is asked for again.
    fn take_pods(&mut self) {
        while let Some((uid, pod)) = self.pods.as_ref().and_then(Pods::next) {
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

    /// Takes what runtimes answered.
    pub(super) fn take_images(&mut self) {
        self.discovery.take_images();
        self.discovery.containers.take_pods();
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
