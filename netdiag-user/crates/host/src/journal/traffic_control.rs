//! What rtnetlink(7) tells of queues and filters of tc (net/sched/sch_api.c, net/sched/cls_api.c).
use crate::{
    gather::netlink::{HEADER, attribute, u32_at},
    model::{
        journal::{How, Thing},
        link_filters::OWN,
    },
};

/// `struct tcmsg`.
const TCMSG: usize = 20;
/// TCA_KIND, TCA_OPTIONS, and TCA_BPF_NAME within those.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const BPF_NAME: u16 = 7;
/// Where filters hang that see each packet: nothing waits there.
const NO_QUEUES: [&[u8]; 2] = [b"clsact\0", b"ingress\0"];

/// RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTCLASS, RTM_DELTCLASS, RTM_NEWTFILTER, RTM_DELTFILTER.
pub fn is_of(kind: u16) -> bool {
    matches!(kind, 36 | 37 | 40 | 41 | 44 | 45)
}

/// netdiag's own filters are no news.
pub fn read(
    kind: u16,
    message: &[u8],
    name: impl Fn(u32) -> String,
    changed: &mut dyn FnMut(Thing, How),
) {
    let body = message.get(HEADER + TCMSG..).unwrap_or_default();
    let (Some(index), Some(what)) = (u32_at(message, HEADER + 4), attribute(body, KIND)) else {
        return;
    };
    let how = match kind % 2 {
        0 => How::Appeared,
        _ => How::Vanished,
    };
    match kind {
        44 | 45 => {
            if !is_own(body) {
                changed(Thing::Filter { link: name(index) }, how);
            }
        }
        _ if NO_QUEUES.contains(&what) => {}
        _ => changed(Thing::Queue { link: name(index) }, How::Replaced),
    }
}

fn is_own(body: &[u8]) -> bool {
    let name = attribute(body, OPTIONS).and_then(|options| attribute(options, BPF_NAME));
    let name = name.and_then(|name| name.strip_suffix(&[0]));
    name.is_some_and(|name| OWN.iter().any(|own| own.as_bytes() == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::netlink::nla;

    fn told(kind: u16, what: &[u8], name: &[u8]) -> Vec<(Thing, How)> {
        let mut message = vec![0; HEADER + TCMSG];
        message[HEADER + 4..HEADER + 8].copy_from_slice(&7u32.to_ne_bytes());
        message.extend(nla(KIND, what));
        message.extend(nla(OPTIONS, &nla(BPF_NAME, name)));
        let mut all = Vec::new();
        for cut in 0..message.len() {
            read(kind, &message[..cut], |_| String::new(), &mut |_, _| {});
        }
        read(
            kind,
            &message,
            |index| format!("if{index}"),
            &mut |of, how| {
                all.push((of, how));
            },
        );
        all
    }

    #[test]
    fn queues_and_others_filters_are_told_by_their_link() {
        let link = || "if7".to_owned();
        let filter = Thing::Filter { link: link() };
        let queue = Thing::Queue { link: link() };
        let bpf = b"bpf\0";
        assert_eq!(
            told(44, bpf, b"acl_v2\0"),
            [(filter.clone(), How::Appeared)]
        );
        assert_eq!(told(45, bpf, b"acl_v2\0"), [(filter, How::Vanished)]);
        assert_eq!(told(44, bpf, b"hop_ingress\0"), [], "our own");
        assert_eq!(told(36, b"tbf\0", b""), [(queue, How::Replaced)]);
        assert_eq!(told(36, b"clsact\0", b""), []);
    }
}
