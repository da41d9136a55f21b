//! How drops like one are seen without netdiag.
use netdiag_common::loss::NO_REASON;

use super::by_place::unspecified;
use crate::{model::shell::CommandLine, pipeline::facts::Loss, shell};

/// The kernel's own tracepoint with the stack below it, machine-wide: those of the reason that the
/// function dropped. perf trace(1) prints neither. The kernel leaves out other reasons before it walks
/// a stack: beside a storm of them the ring would overflow, and the few that matter be lost. Not -q: perf
/// would hide why it cannot record.
pub fn dropped_like(loss: &Loss) -> CommandLine {
    let symbol = Some(loss.symbol()).filter(|it| !it.starts_with("0x"));
    // Before 5.17 the tracepoint has no reason.
    let record = match loss.key.reason {
        NO_REASON => shell!("perf record -ag -e skb:kfree_skb -o - sleep 5"),
        number => shell!(
            "perf record -ag -e skb:kfree_skb --filter 'reason == {}' -o - sleep 5",
            number
        ),
    };
    let record = record.pipe(shell!("perf script -i -"));
    record.pipe(match (unspecified(loss), symbol) {
        (true, None) => shell!("awk -v RS= 'n++ < 3'"),
        (true, Some(symbol)) => shell!("awk -v RS= '/{}/ && n++ < 3'", symbol),
        (false, None) => shell!("awk -v RS= '/reason: {}/ && n++ < 3'", loss.reason),
        (false, Some(symbol)) => shell!(
            "awk -v RS= '/reason: {}/ && /{}/ && n++ < 3'",
            loss.reason,
            symbol
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::observation::Observation,
        testing::{UPLINK, died, overlay_node, tcp, with_facts},
    };

    fn printed(location: &str, reason: Option<u32>) -> String {
        let flow = tcp("172.20.1.5", "172.20.2.9", 2000);
        let observation = Observation {
            drops: vec![died(flow, ("NETFILTER_DROP", "nft_do_chain"), UPLINK, 1)],
            ..Observation::default()
        };
        let node = overlay_node(1450, 1450, 1500);
        with_facts(&node, &observation, |facts| {
            let mut loss = facts.losses[0].clone();
            loss.location = location.to_owned();
            loss.key.reason = reason.unwrap_or(NO_REASON);
            dropped_like(&loss).text()
        })
    }

    #[test]
    fn the_kernel_leaves_out_other_reasons() {
        assert_eq!(
            printed("nft_do_chain", Some(8)),
            "perf record -ag -e skb:kfree_skb --filter 'reason == 8' -o - sleep 5 | perf script -i - \
             | awk -v RS= '/reason: NETFILTER_DROP/ && /nft_do_chain/ && n++ < 3'"
        );
    }

    #[test]
    fn a_kernel_with_few_reasons_is_asked_for_the_place() {
        assert_eq!(
            printed("nft_do_chain", Some(0)),
            "perf record -ag -e skb:kfree_skb --filter 'reason == 0' -o - sleep 5 | perf script -i - \
             | awk -v RS= '/nft_do_chain/ && n++ < 3'"
        );
    }

    #[test]
    fn a_kernel_without_reasons_is_asked_for_none() {
        assert_eq!(
            printed("nft_do_chain", None),
            "perf record -ag -e skb:kfree_skb -o - sleep 5 | perf script -i - \
             | awk -v RS= '/nft_do_chain/ && n++ < 3'"
        );
        assert!(printed("0xffffffff81000000", None).ends_with("| awk -v RS= 'n++ < 3'"));
    }
}
