//! Rows in another order: the kernel gives its maps' entries in any.
use netdiag::model::observation::Observation;

/// Brings the rows of every table into another order, by their number.
fn reordered(counted: &mut Observation, order: &mut impl FnMut(usize) -> Vec<usize>) {
    // What is new in it does not compile here.
    let Observation {
        now: _,
        flows,
        outers,
        icmp_errors,
        dns,
        claims,
        drops,
        retransmits,
        oom_kills,
        counters: _,
        evicted_flows: _,
        evicted_others: _,
        recursion_misses: _,
        events,
    } = counted;
    placed(flows, order);
    placed(outers, order);
    placed(icmp_errors, order);
    placed(dns, order);
    placed(claims, order);
    placed(drops, order);
    placed(retransmits, order);
    placed(oom_kills, order);
    placed(events, order);
}

fn placed<T: Copy>(rows: &mut [T], order: &mut impl FnMut(usize) -> Vec<usize>) {
    let before = rows.to_vec();
    for (row, from) in rows.iter_mut().zip(order(before.len())) {
        *row = before[from];
    }
}

pub fn reversed(counted: &mut Observation) {
    reordered(counted, &mut |length| (0..length).rev().collect());
}

/// Differently with each reading, and each time the test runs alike.
pub fn shuffled(counted: &mut Observation) {
    let mut number = counted.now;
    reordered(counted, &mut |length| {
        let mut places: Vec<usize> = (0..length).collect();
        for last in (1..length).rev() {
            number = { number.wrapping_mul(6_364_136_223_846_793_005) }.wrapping_add(1);
            places.swap(last, (number >> 33) as usize % (last + 1));
        }
        places
    });
}
