//! Whom a node owes a way, and what is told where it ends.
/// Who is to be reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    NameServer,
    /// From a pod here.
    Service,
    /// From outside, by a port of this node's.
    NodePort,
    /// A port of a pod here that a server listens at, by the node itself.
    Server,
    /// A tunnel of this node's, by its other end.
    Tunnel,
    /// Another node's pods: the way there, whatever rules make of a port.
    Others,
    /// Likewise the world, where the pod and the node have a default route.
    World,
    /// Likewise a pod here, by the node itself.
    Pod,
}

impl Whom {
    /// Whether rules are told that refuse it: of ways that are walked for themselves, with a port of nobody's, none is.
    pub fn is_asked_by_port(self) -> bool {
        match self {
            Self::NameServer | Self::Service | Self::NodePort | Self::Server | Self::Tunnel => true,
            Self::Others | Self::World | Self::Pod => false,
        }
    }

    /// Whether nobody can want it refused: the node or its pods are told to use it.
    pub fn is_needed(self) -> bool {
        matches!(self, Self::NameServer | Self::Tunnel)
    }

    /// Whether one way of several that ends is as bad as all of them.
    pub fn is_one(self) -> bool {
        matches!(self, Self::NameServer)
    }
}
