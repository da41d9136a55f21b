//! What else is shown the packets of links: filters of tc, and programs of eBPF at tc and XDP.
use crate::{
    gather::link_filters,
    model::{
        link_filters::LinkFilter,
        world::{AtLink, Known, Why},
    },
};

/// Of this thread's namespace, without netdiag's own.
pub fn read() -> Known<Vec<AtLink>> {
    let one = |filter: LinkFilter| AtLink {
        device: filter.link,
        hook: filter.hook,
        program: filter.program.map(|program| program.name),
    };
    match link_filters::present() {
        Err(error) => Known::Not(Why::Refused(format!("{error:#}"))),
        Ok((all, beyond)) => {
            let all = all.into_iter().map(one).collect();
            match beyond {
                true => Known::Partly(all, Why::TooMany),
                false => Known::Is(all),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::{model::link_filters::LinkHook, sys::program::Program};

    #[test]
    fn a_filter_is_known_by_its_device_and_side() {
        if netdiag_tests::require::missing(&["tc"]) {
            return;
        }
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            assert_eq!(read(), Known::Is(Vec::new()));
            let tc = |line: &str| {
                let words: Vec<_> = line.split(' ').collect();
                Program::new("tc").text(&words).expect("done");
            };
            tc("qdisc add dev lo clsact");
            assert_eq!(read(), Known::Is(Vec::new()), "nothing hangs there");
            tc(
                "filter add dev lo egress protocol ip pref 10 u32 match ip dport 80 0xffff \
                action mirred egress mirror dev lo",
            );
            read()
        };
        let read = std::thread::spawn(inside).join().expect("no panic");
        let all = read.whole().expect("all");
        let at = all.first().expect("a filter");
        assert_eq!((at.device, at.hook), (1, LinkHook::Egress));
        assert_eq!(at.program, None);
    }
}
