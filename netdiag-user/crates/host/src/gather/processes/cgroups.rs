//! Where a process stands among the machine's cgroups: what root put it into, and what it cannot
//! leave (Documentation/admin-guide/cgroup-v2.rst, "Delegation").
use std::path::Path;

use crate::{
    model::{control, pod_cgroup::PodRoots},
    sys::file,
};

/// Lines of /proc/PID/cgroup: controllers, and path.
#[derive(Clone, Debug, Default)]
pub struct Cgroups(Vec<(String, String)>);

/// Who put a process where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seat {
    /// The init system, as a service of the machine.
    Service,
    /// It runs where the machine's first process does.
    First,
    /// kubelet, as a part of the pod with that UID.
    Pod(String),
    /// A user's session, a container of somebody's, or not known.
    Elsewhere,
}

/// systemd's own hierarchy, where cgroups are of version 1.
const SYSTEMD: &str = "name=systemd";
/// Version 2 has no names of controllers.
const UNIFIED: &str = "";
/// Where systemd itself is (systemd.special(7)).
const INIT: &str = "/init.scope";

impl Cgroups {
    pub fn read(path: &Path) -> Self {
        let (bytes, _) = file::start(path, file::SMALL).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut parts = line.splitn(3, ':').skip(1).map(str::to_owned);
            Some((parts.next()?, parts.next()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    fn of(&self, controllers: &str) -> Option<&str> {
        let found = self.0.iter().find(|(of, _)| of == controllers);
        found.map(|(_, path)| path.as_str())
    }

    /// The one of version 2, `/kubepods/…`, as the first process sees it.
    pub fn unified(&self) -> Option<&str> {
        self.of(UNIFIED)
    }

    /// The hierarchy by which init systems sort services.
    fn sorted(&self) -> Option<&str> {
        self.of(SYSTEMD).or_else(|| self.unified())
    }

    /// UID and container of the pod that it is of.
    pub fn pod(&self, roots: &PodRoots) -> Option<(String, String)> {
        self.paths().find_map(|path| roots.pod_and_container(path))
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, path)| path.as_str())
    }

    /// As they are below the machine's own, which is a container where Kubernetes runs in one.
    fn below(&self, first: &Self) -> Self {
        let line = |(of, path): &(String, String)| {
            let base = first.of(of).unwrap_or_default();
            let base = base.strip_suffix(INIT).unwrap_or(base);
            let inside = path.strip_prefix(base).filter(|rest| rest.starts_with('/'));
            (of.clone(), inside.unwrap_or(path).to_owned())
        };
        Self(self.0.iter().map(line).collect())
    }

    /// The service of systemd's that it is.
    pub fn unit(&self, first: &Self, roots: &PodRoots) -> Option<String> {
        let service = self.seat(first, roots) == Seat::Service;
        let below = self.below(first);
        let (_, last) = below.sorted()?.rsplit_once('/')?;
        (service && last.ends_with(".service")).then(|| last.to_owned())
    }

    pub fn seat(&self, first: &Self, roots: &PodRoots) -> Seat {
        let below = self.below(first);
        if let Some((uid, _)) = self.pod(roots) {
            return Seat::Pod(uid);
        }
        let own = self.sorted();
        let contained = below.paths().any(is_container);
        if own.is_some() && own == first.sorted() && !contained {
            return Seat::First;
        }
        match below.sorted().is_some_and(is_service) && !contained {
            true => Seat::Service,
            false => Seat::Elsewhere,
        }
    }
}

/// A container's, or a pod's that is not understood.
fn is_container(path: &str) -> bool {
    let mut parts = path.split(['/', ':']);
    parts.any(|part| part.contains("kubepods") || control::container_id(part).is_some())
}

/// `/system.slice/etcd.service`, or OpenRC's `/openrc.etcd`. What a service makes below its own
/// cgroup is no service.
fn is_service(path: &str) -> bool {
    let mut above: Vec<_> = path.split('/').skip(1).collect();
    let last = above.pop().unwrap_or_default();
    let of_root = |part: &&str| part.ends_with(".slice") && !control::DELEGATED.contains(part);
    match above.is_empty() {
        true => last.starts_with("openrc."),
        false => last.ends_with(".service") && above.iter().all(of_root),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0c4e7e2a-5e9e-4b5e-9a43-1f1b1d2c3e4f";

    fn seat(text: &str, first: &str) -> Seat {
        let roots = PodRoots::new(first, None);
        Cgroups::parse(text).seat(&Cgroups::parse(first), &roots)
    }

    #[test]
    fn services_of_the_machine_are_told_from_all_others() {
        let first = "0::/init.scope\n";
        let services = [
            "0::/system.slice/etcd.service",
            "0::/system.slice/system-etcd.slice/etcd@1.service",
            "0::/runtime.slice/k3s.service",
            "4:memory:/system.slice/etcd.service\n1:name=systemd:/system.slice/etcd.service\n0::/",
            "0::/openrc.etcd",
        ];
        for text in services {
            assert_eq!(seat(text, first), Seat::Service, "{text}");
        }
        let unit =
            |text| Cgroups::parse(text).unit(&Cgroups::parse(first), &PodRoots::new(first, None));
        assert_eq!(unit(services[0]).as_deref(), Some("etcd.service"));
        assert_eq!(unit(services[1]).as_deref(), Some("etcd@1.service"));
        assert_eq!(unit(services[4]), None, "OpenRC's");
        assert_eq!(unit("0::/system.slice/x.service/own"), None);
        let id = "a".repeat(64);
        let others = [
            "".to_owned(),
            "0::/".into(),
            "0::/../../system.slice/etcd.service".into(),
            "0::/user.slice/user-1000.slice/session-1.scope".into(),
            "0::/user.slice/user-1000.slice/user@1000.service".into(),
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/etcd.service".into(),
            "0::/machine.slice/etcd.service".into(),
            "0::/etcd.service".into(),
            "0::/system.slice/etcd.service/own.slice/etcd.service".into(),
            format!("0::/system.slice/evil.service/kubepods/pod{UID}/{id}"),
            format!("0::/lxc.payload.x/kubepods/pod{UID}/{id}"),
            format!("0::/system.slice/docker-{id}.scope"),
            format!("0::/docker/{id}"),
            format!("0::/docker/{id}/system.slice/etcd.service"),
            format!("1:name=systemd:/system.slice/etcd.service\n2:memory:/docker/{id}"),
        ];
        for text in others {
            assert_eq!(seat(&text, first), Seat::Elsewhere, "{text}");
        }
    }

    #[test]
    fn a_pod_is_the_outermost_that_its_path_names() {
        let id = "b".repeat(64);
        let other = "f".repeat(32);
        let texts = [
            format!("0::/kubepods/pod{UID}/{id}"),
            format!("0::/kubepods/pod{UID}/{id}/kubepods/pod{other}/{id}"),
            format!("0::/kubepods/pod{UID}/{id}/system.slice/etcd.service"),
            // With both versions of cgroups a runtime may leave the second as it was.
            format!("2:memory:/kubepods/pod{UID}/{id}\n0::/system.slice/containerd.service"),
        ];
        for text in texts {
            assert_eq!(seat(&text, "0::/init.scope"), Seat::Pod(UID.into()));
        }
    }

    #[test]
    fn a_machine_may_be_a_container_or_sort_nothing() {
        let id = "c".repeat(64);
        let kind = format!("0::/docker/{id}/init.scope");
        let service = format!("0::/docker/{id}/system.slice/etcd.service");
        assert_eq!(seat(&service, &kind), Seat::Service);
        assert_eq!(seat("0::/", "0::/"), Seat::First);
        assert_eq!(seat("0::/init", "0::/init"), Seat::First);
        assert_eq!(seat("", ""), Seat::Elsewhere, "nothing is known");
        let docker = format!("0::/docker/{id}");
        assert_eq!(seat(&docker, "0::/"), Seat::Elsewhere);
    }
}
