//! What people read of ten incidents, on narrow and on wide paper.
use std::path::{Path, PathBuf};

use netdiag_tests::recordings;

use super::{
    replayed::replayed,
    snapshots::{self, Kind},
};

const WIDTHS: [usize; 2] = [80, 120];

macro_rules! tables {
    ($($test:ident: $name:literal of [$($recording:literal),+];)+) => {
        $(
            #[test]
            fn $test() {
                compare($name, &[$($recording),+]);
            }
        )+

        #[test]
        fn none_is_of_nothing() {
            let names = [$($name),+].into_iter();
            let files = names.flat_map(|name| WIDTHS.map(|width| file(name, width)));
            snapshots::no_orphans(Kind::Table, &files.collect());
        }
    };
}

tables! {
    one_cause: "one-cause" of ["firewall-drop"];
    a_consequence: "a-consequence" of ["dns-blocked"];
    a_chain: "a-chain" of ["sidecar-without-dns"];
    two_consequences: "two-consequences" of ["overlay-wrong-interface"];
    a_daemon: "a-daemon" of ["ipam-etcd-full"];
    a_service: "a-service" of ["service-stale-endpoint"];
    many_rows: "many-rows" of ["neighbour-table-full"];
    healthy: "healthy" of ["healthy"];
    unexplained: "unexplained" of ["vxlan-source-mismatch.worker-2"];
    two_incidents: "two-incidents" of ["vxlan-source-mismatch.worker-1", "pod-route-missing.worker-2"];
    two_nodes: "two-nodes" of ["pod-route-missing.worker-1", "pod-route-missing.worker-2"];
    two_healthy_nodes: "two-healthy-nodes" of ["healthy.worker-1", "healthy.worker-2"];
}

fn compare(name: &str, of: &[&str]) {
    let files: Vec<PathBuf> = of.iter().map(|name| recordings::file(name)).collect();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    for width in WIDTHS {
        let told = replayed(&files, "table", width);
        snapshots::compare(Kind::Table, &file(name, width), &told.text);
    }
}

fn file(name: &str, width: usize) -> String {
    format!("{name}.{width}")
}
