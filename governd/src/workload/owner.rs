//! Who a cgroup belongs to, read off its path: the systemd unit, the container, the pod.
//!
//! Layouts: systemd's own (systemd.unit(5), `cg_path_get_unit`), the systemd and cgroupfs drivers
//! of Docker, Podman, containerd and CRI-O, and the kubelet's QoS tree
//! (pkg/kubelet/cm/pod_container_manager_linux.go), on v2 and on the `name=systemd` tree of a
//! hybrid host. A path of an unknown layout belongs to nobody.

use crate::core::workload::{Container, Runtime, Workload};

/// Beginnings of a container's cgroup name, the longest first where one begins another.
const PREFIXES: &[(&str, Runtime)] = &[
    ("cri-containerd-", Runtime::Containerd),
    ("nerdctl-", Runtime::Containerd),
    ("containerd-", Runtime::Containerd),
    ("docker-", Runtime::Docker),
    ("libpod-", Runtime::Podman),
    ("crio-", Runtime::Crio),
];

/// Reads a path of either tree, with a leading slash.
pub fn workload(path: &str) -> Workload {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut owner = Workload::default();
    set_units(&mut owner, &parts);
    for (index, part) in parts.iter().enumerate() {
        let before = parts.get(..index).unwrap_or_default();
        if let Some(pod) = pod(part) {
            owner.pod = Some(pod);
        }
        if let Some(container) = container(part, before, owner.pod.is_some()) {
            owner.container = Some(container);
        }
    }
    owner
}

/// The cgroup of the container that a path is in, and the container. `None` where it is in none, or
/// in one within another: whoever is in the outer one may call an inner one as it likes.
pub fn sole_container(path: &str) -> Option<(&str, Container)> {
    let mut found = None;
    let mut is_in_pod = false;
    let mut before: Vec<&str> = Vec::new();
    let mut end = 0;
    for part in path.split('/').skip(1) {
        end += 1 + part.len();
        is_in_pod = is_in_pod || pod(part).is_some();
        if let Some(container) = container(part, &before, is_in_pod) {
            if found.is_some() {
                return None;
            }
            found = Some((path.get(..end)?, container));
        }
        before.push(part);
    }
    found
}

fn set_units(owner: &mut Workload, parts: &[&str]) {
    let mut rest = parts.iter().map(|part| part.strip_prefix('_').unwrap_or(part));
    let Some(unit) = rest.find(|part| !part.ends_with(".slice")).filter(|part| is_unit(part))
    else {
        return;
    };
    if let Some(session) = unit.strip_prefix("session-").and_then(|s| s.strip_suffix(".scope")) {
        owner.session = Some(session.to_owned());
    }
    if unit.starts_with("user@") {
        let unit = rest.find(|part| !part.ends_with(".slice")).filter(|part| is_unit(part));
        owner.user_unit = unit.map(str::to_owned);
    }
    owner.unit = Some(unit.to_owned());
}

fn is_unit(part: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"]
        .iter()
        .any(|kind| part.strip_suffix(kind).is_some_and(|name| !name.is_empty()))
}

fn pod(part: &str) -> Option<String> {
    // The systemd driver without a systemd runtime writes `SLICE:PREFIX:ID` as one component.
    let part = part.split(':').next()?;
    let uid = match part.strip_suffix(".slice") {
        Some(slice) => slice.split_once("kubepods")?.1.rsplit_once("-pod")?.1,
        None => part.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let is_uid =
        uid.len() >= 32 && uid.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    is_uid.then_some(uid)
}

fn container(part: &str, before: &[&str], is_in_pod: bool) -> Option<Container> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if let Some((prefix, id)) = name.rsplit_once(':').filter(|(_, id)| is_container_id(id)) {
        let prefix = prefix.rsplit(':').next().unwrap_or(prefix);
        let runtime = PREFIXES.iter().find(|(known, _)| known.strip_suffix('-') == Some(prefix));
        return made(runtime.map_or(Runtime::Unknown, |(_, runtime)| *runtime), id);
    }
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = name.strip_prefix(prefix).filter(|id| is_container_id(id)) {
            return made(*runtime, id);
        }
    }
    let parent = before.last().copied().unwrap_or_default();
    if let Some(id) = name.strip_prefix("lxc.payload.") {
        return made(Runtime::Lxc, id);
    }
    if let Some(id) = name.strip_prefix("machine-").filter(|_| part.ends_with(".scope")) {
        return made(Runtime::Machine, id);
    }
    match parent {
        "docker" if is_container_id(name) => made(Runtime::Docker, name),
        "lxc" if !name.is_empty() => made(Runtime::Lxc, name),
        _ if is_in_pod && is_container_id(name) && pod(part).is_none() => {
            made(Runtime::Containerd, name)
        }
        _ if is_container_id(name) => made(Runtime::Unknown, name),
        // A runtime that nobody told us of; monitors of containers are none themselves.
        _ => {
            let (_, id) = name
                .rsplit_once('-')
                .filter(|(runtime, id)| !runtime.ends_with("conmon") && is_container_id(id))?;
            made(Runtime::Unknown, id)
        }
    }
}

fn made(runtime: Runtime, id: &str) -> Option<Container> {
    Some(Container { runtime, id: id.to_owned() })
}

fn is_container_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "6c4f2b1e-8a7d-4c3b-9e2f-1a2b3c4d5e6f";

    fn words(path: &str) -> String {
        let path =
            path.replace("UID_", &UID.replace('-', "_")).replace("UID", UID).replace("ID", ID);
        let owner = workload(&path);
        let container = owner.container.as_ref().map(|container| {
            assert!(container.id == ID || container.id.len() < 10, "{}", container.id);
            container.runtime.word().to_owned()
        });
        assert!(owner.pod.as_ref().is_none_or(|pod| pod == UID || pod.len() == 32));
        let pod = owner.pod.as_ref().map(|_| "pod".to_owned());
        [owner.unit.clone(), owner.user_unit.clone(), container, pod, owner.place()]
            .map(|field| field.unwrap_or_else(|| "-".to_owned()))
            .join(" ")
    }

    #[test]
    fn a_container_is_where_its_own_cgroup_is_and_none_within_another() {
        let pod = format!("/kubepods.slice/kubepods-pod{}.slice", UID.replace('-', "_"));
        let rows = [
            (format!("{pod}/crio-{ID}.scope/container/x"), Some(format!("{pod}/crio-{ID}.scope"))),
            (format!("/docker/{ID}"), Some(format!("/docker/{ID}"))),
            (format!("/docker/{ID}/system.slice/docker-{ID}.scope"), None),
            (pod, None),
            ("/system.slice/nginx.service".to_owned(), None),
            ("/".to_owned(), None),
            (String::new(), None),
        ];
        for (path, expected) in rows {
            let found = sole_container(&path);
            assert_eq!(found.as_ref().map(|(at, _)| *at), expected.as_deref(), "{path}");
            if let Some((_, container)) = found {
                assert_eq!(Some(container), workload(&path).container, "{path}");
            }
        }
    }

    #[test]
    fn known_layouts() {
        let rows = [
            ("/", "- - - - -"),
            ("/init.scope", "init.scope - - - -"),
            ("/system.slice/nginx.service", "nginx.service - - - nginx.service"),
            (
                "/system.slice/system-foo.slice/foo@1.service/sub",
                "foo@1.service - - - foo@1.service",
            ),
            ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope - - - -"),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-claude.service",
                "user@1000.service app-claude.service - - app-claude.service",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/init.scope",
                "user@1000.service init.scope - - -",
            ),
            ("/system.slice/run-u12.service", "run-u12.service - - - -"),
            ("/system.slice/docker-ID.scope", "docker-ID.scope - docker - docker:0123456789ab"),
            ("/docker/ID", "- - docker - docker:0123456789ab"),
            ("/docker/ID/init", "- - docker - docker:0123456789ab"),
            (
                "/machine.slice/libpod-ID.scope/container",
                "libpod-ID.scope - podman - podman:0123456789ab",
            ),
            ("/libpod_parent/libpod-ID", "- - podman - podman:0123456789ab"),
            ("/machine.slice/libpod-conmon-ID.scope", "libpod-conmon-ID.scope - - - -"),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice\
                 /libpod-ID.scope/container",
                "user@1000.service libpod-ID.scope podman - podman:0123456789ab",
            ),
            (
                "/system.slice/nerdctl-ID.scope",
                "nerdctl-ID.scope - containerd - containerd:0123456789ab",
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice\
                 /kubepods-burstable-podUID_.slice/cri-containerd-ID.scope",
                "cri-containerd-ID.scope - containerd pod containerd:0123456789ab",
            ),
            (
                "/kubepods.slice/kubepods-podUID_.slice/crio-ID.scope/container",
                "crio-ID.scope - cri-o pod cri-o:0123456789ab",
            ),
            (
                "/kubepods.slice/kubepods-podUID_.slice/crio-conmon-ID.scope",
                "crio-conmon-ID.scope - - pod -",
            ),
            ("/kubepods/burstable/podUID/ID", "- - containerd pod containerd:0123456789ab"),
            ("/kubepods/podUID/crio-ID", "- - cri-o pod cri-o:0123456789ab"),
            (
                "/kubepods/besteffort/pod0123456789abcdef0123456789abcdef/ID",
                "- - containerd pod containerd:0123456789ab",
            ),
            (
                "/system.slice/containerd.service\
                 /kubepods-burstable-podUID_.slice:cri-containerd:ID",
                "containerd.service - containerd pod containerd:0123456789ab",
            ),
            (
                "/docker/ID/kubelet.slice/kubelet-kubepods.slice\
                 /kubelet-kubepods-podUID_.slice/cri-containerd-ID.scope",
                "- - containerd pod containerd:0123456789ab",
            ),
            (
                "/kubepods.slice/kubepods-podUID_.slice/someruntime-ID.scope",
                "someruntime-ID.scope - unknown pod unknown:0123456789ab",
            ),
            ("/system.slice/new-ID.scope", "new-ID.scope - unknown - unknown:0123456789ab"),
            ("/default/ID", "- - unknown - unknown:0123456789ab"),
            ("/lxc.payload.web/system.slice/x.service", "- - lxc - lxc:web"),
            ("/lxc/web", "- - lxc - lxc:web"),
            ("/machine.slice/machine-web.scope", "machine-web.scope - machine - machine:web"),
            ("/something/podcast/else", "- - - - -"),
            ("relative/../\u{fffd}", "- - - - -"),
        ];
        for (path, expected) in rows {
            assert_eq!(words(path), expected.replace("-ID", &format!("-{ID}")), "{path}");
        }
    }
}
