//! Services among IPVS's virtual servers, as kube-proxy's IPVS mode sets them up.
use crate::model::{
    services::{Engine, Service, Services},
    world::ipvs::{VirtualServer, Wanted},
};

/// Connections that are marked alone are no Service's.
pub fn read(servers: &[VirtualServer], found: &mut Services) {
    found.rules.extend(servers.iter().filter_map(service));
}

fn service(server: &VirtualServer) -> Option<Service> {
    let Wanted::At {
        address,
        protocol,
        port,
    } = server.wanted
    else {
        return None;
    };
    let backends: Vec<_> = server.in_use().map(|it| (it.address, it.port)).collect();
    Some(Service {
        address,
        port,
        protocol,
        name: None,
        rejected: backends.is_empty(),
        backends,
        local: false,
        engine: Engine::Ipvs,
        table: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::world::ipvs::{Forward, RealServer};

    #[test]
    fn without_a_server_in_use_it_is_refused() {
        let real = |last: u8, weight| RealServer {
            address: [10, 1, 0, last].into(),
            port: 8080,
            forward: Forward::Masquerade,
            weight,
        };
        let server = |wanted, real: &[RealServer]| VirtualServer {
            wanted,
            scheduler: "rr".into(),
            one_packet: false,
            persistent: false,
            real: real.to_vec(),
        };
        let at = |port| Wanted::At {
            address: [10, 96, 0, 1].into(),
            protocol: 6,
            port,
        };
        let mut found = Services::default();
        let all = [
            server(at(80), &[real(1, 1), real(2, 0)]),
            server(at(81), &[real(2, 0)]),
            server(
                Wanted::Mark {
                    mark: 1,
                    ipv6: false,
                },
                &[real(1, 1)],
            ),
        ];
        read(&all, &mut found);
        let [served, ended] = found.rules.as_slice() else {
            panic!("{:?}", found.rules);
        };
        assert_eq!(served.backends, [([10, 1, 0, 1].into(), 8080)]);
        assert_eq!((served.rejected, ended.rejected), (false, true));
        assert_eq!((served.port, ended.port), (80, 81));
    }
}
