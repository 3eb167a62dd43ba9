//! Pods, as Kubernetes describes them: name, service account, labels and what controls them.
//!
//! Either the API server is asked (`/api/v1/pods?fieldSelector=spec.nodeName=NODE`) or the kubelet
//! (`/pods`), by a thread of its own; both answer with a `PodList`. It is asked for all pods of the
//! node, when one is wanted that is not known, and at most every [`PODS_INTERVAL_MS`]. An answer
//! takes at most [`PODS_TIMEOUT_MS`] and [`PODS_ANSWER_BYTES_MAX`]. Nobody waits for it.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Deserialize;
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::{
    limits::{
        POD_LABELS_MAX, POD_TEXT_BYTES_MAX, PODS_ANSWER_BYTES_MAX, PODS_INTERVAL_MS,
        PODS_TIMEOUT_MS, PODS_WAITING_MAX,
    },
    worker::Worker,
};
use crate::core::workload::Pod;

/// Where pods are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodSource {
    /// Address that answers with a list of pods.
    pub url: String,
    /// Directory with `token` and `ca.crt`, as a service account has it; a file that is not there
    /// is not used.
    pub credentials: PathBuf,
}

/// The thread. It is asked by uid, and answers with the uid, and the pod if it is one of this node.
pub type Pods = Worker<String, (String, Option<Arc<Pod>>)>;

impl Pods {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(source: PodSource) -> io::Result<Self> {
        let mut asker = Asker { source, known: HashMap::new(), asked: None };
        Self::spawn("pods", PODS_WAITING_MAX, move |uid: String| {
            let pod = asker.pod(&uid);
            Some((uid, pod))
        })
    }
}

struct Asker {
    source: PodSource,
    /// The pods of the latest answer, by uid.
    known: HashMap<String, Arc<Pod>>,
    asked: Option<Instant>,
}

impl Asker {
    fn pod(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let interval = Duration::from_millis(PODS_INTERVAL_MS);
        let is_fresh = self.asked.is_some_and(|at| at.elapsed() < interval);
        if !self.known.contains_key(uid) && !is_fresh {
            self.asked = Some(Instant::now());
            match list(&self.source) {
                Ok(pods) => self.known = pods,
                Err(reason) => {
                    tracing::warn!(reason, url = self.source.url, "nobody tells of pods");
                }
            }
        }
        self.known.get(uid).cloned()
    }
}

#[derive(Deserialize)]
struct PodList {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: String,
    name: String,
    namespace: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    service_account_name: Option<String>,
}

#[derive(Deserialize)]
struct OwnerReference {
    kind: String,
    name: String,
    #[serde(default)]
    controller: bool,
}

/// A static pod's own uid, by which its cgroup is called; the API server gives it another.
const HASH: &str = "kubernetes.io/config.hash";

fn list(source: &PodSource) -> Result<HashMap<String, Arc<Pod>>, String> {
    let agent = agent(&source.credentials.join("ca.crt"))?;
    let mut request = agent.get(&source.url).header("Accept", "application/json");
    if let Ok(token) = fs::read_to_string(source.credentials.join("token")) {
        request = request.header("Authorization", format!("Bearer {}", token.trim()));
    }
    let mut answer = request.call().map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    if status != 200 {
        return Err(format!("the answer has status {status}"));
    }
    let body = answer.body_mut().with_config().limit(PODS_ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|error| error.to_string())?;
    let list: PodList = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok(list
        .items
        .into_iter()
        .filter_map(pod)
        .flat_map(|(uids, pod)| uids.into_iter().map(move |uid| (uid, Arc::clone(&pod))))
        .collect())
}

fn agent(ca_file: &Path) -> Result<Agent, String> {
    let mut tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    if ca_file.exists() {
        let roots: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(ca_file).and_then(Iterator::collect);
        let roots = roots.map_err(|error| format!("{}: {error}", ca_file.display()))?;
        let roots: Vec<_> = roots.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        tls = tls.root_certs(RootCerts::new_with_certs(&roots));
    }
    Ok(Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(Duration::from_millis(PODS_TIMEOUT_MS)))
        .tls_config(tls.build())
        .user_agent(concat!("governd/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent())
}

/// The uids of a pod, and the pod; `None` if its names are none.
fn pod(item: Item) -> Option<(Vec<String>, Arc<Pod>)> {
    let Item { metadata, spec } = item;
    let labels = metadata.labels.unwrap_or_default();
    let is_short = |text: &str| text.len() <= POD_TEXT_BYTES_MAX;
    let labels = labels.into_iter().filter(|(name, value)| is_short(name) && is_short(value));
    let controller =
        metadata.owner_references.unwrap_or_default().into_iter().find(|one| one.controller);
    let controller = controller.map(|one| format!("{}/{}", one.kind, one.name));
    let text = |text: Option<String>| Some(text?).filter(|text| is_short(text)).map(Arc::from);
    let pod = Pod {
        namespace: text(Some(metadata.namespace))?,
        name: text(Some(metadata.name))?,
        service_account: text(spec.service_account_name),
        controller: text(controller),
        labels: labels.take(POD_LABELS_MAX).collect(),
    };
    let hash = metadata.annotations.and_then(|mut all| all.remove(HASH));
    let uids = [metadata.uid].into_iter().chain(hash).filter(|uid| is_short(uid));
    Some((uids.collect(), Arc::new(pod)))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::TcpListener,
        sync::mpsc::{Receiver, sync_channel},
        thread,
    };

    use super::*;
    use crate::workload::owner;

    /// What a cluster answered, without the fields that are not used here.
    const ANSWER: &str = include_str!("testdata/pods.json");
    const UID: &str = "6c4f2b1e-8a7d-4c3b-9e2f-1a2b3c4d5e6f";
    /// A static pod's hash, which its cgroup is called by.
    const HASH_UID: &str = "0123456789abcdef0123456789abcdef";

    /// A server that answers each request with these, the last one again and again.
    fn serve(answers: Vec<String>) -> (String, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/pods", listener.local_addr().unwrap());
        let (heard, requests) = sync_channel(64);
        thread::spawn(move || {
            let mut answers = answers.into_iter();
            let mut answer = answers.next().unwrap();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while reader.read_line(&mut head).unwrap() > 2 {}
                heard.send(head).unwrap();
                // The asker may have gone because it heard enough.
                stream.write_all(answer.as_bytes()).ok();
                answer = answers.next().unwrap_or(answer);
            }
        });
        (url, requests)
    }

    fn ok(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    fn asker(url: String, credentials: &Path) -> Asker {
        let source = PodSource { url, credentials: credentials.to_owned() };
        Asker { source, known: HashMap::new(), asked: None }
    }

    #[test]
    fn pods_of_all_cgroup_layouts_are_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), "secret-token\n").unwrap();
        let (url, requests) = serve(vec![ok(ANSWER)]);
        let mut asker = asker(url, dir.path());
        let dashed = UID.replace('-', "_");
        let id = "ab".repeat(32);
        let paths = [
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{dashed}.slice/cri-containerd-{id}.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{dashed}.slice/crio-{id}.scope"),
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{dashed}.slice/docker-{id}.scope"
            ),
            format!("/kubepods/burstable/pod{UID}/{id}"),
            format!("/kubepods/pod{UID}/crio-{id}"),
        ];
        for path in paths {
            let uid = owner::workload(&path).pod.unwrap();
            let pod = asker.pod(&uid).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((&*pod.namespace, &*pod.name), ("agents", "invoice-bot-6c9d-x2x1"));
            assert_eq!(pod.service_account.as_deref(), Some("invoice-bot"));
            assert_eq!(pod.controller.as_deref(), Some("ReplicaSet/invoice-bot-6c9d"));
            assert_eq!(pod.labels["app.kubernetes.io/name"], "invoice-bot");
        }
        let fixed = asker.pod(HASH_UID).unwrap();
        assert_eq!(
            (&*fixed.name, fixed.controller.as_deref()),
            ("etcd-node-1", Some("Node/node-1"))
        );
        assert_eq!(asker.pod("another"), None);
        let head = requests.recv().unwrap();
        assert!(head.to_lowercase().contains("authorization: bearer secret-token"), "{head}");
        // All of this took one question.
        assert!(requests.try_recv().is_err());
    }

    #[test]
    fn what_is_no_list_tells_of_no_pod_and_keeps_what_is_known() {
        let dir = tempfile::tempdir().unwrap();
        for answer in [
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "nonsense".to_owned(),
            ok("nonsense"),
            ok("{}"),
            ok(r#"{"items":[{"metadata":{"name":"a"}}]}"#),
        ] {
            let (url, _requests) = serve(vec![ok(ANSWER), answer.clone()]);
            let mut asker = asker(url, dir.path());
            assert!(asker.pod(UID).is_some());
            asker.asked = None;
            assert_eq!(asker.pod("another"), None, "{answer}");
            assert!(asker.asked.is_some() && asker.pod(UID).is_some(), "{answer}");
        }
    }

    #[test]
    fn the_thread_answers_and_a_server_that_is_not_there_is_no_pod() {
        let dir = tempfile::tempdir().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{closed}/pods");
        let pods = Pods::start(PodSource { url, credentials: dir.path().to_owned() }).unwrap();
        assert!(pods.ask(UID.to_owned()));
        let answer = loop {
            match pods.next() {
                Some(answer) => break answer,
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        assert_eq!(answer, (UID.to_owned(), None));
    }
}
