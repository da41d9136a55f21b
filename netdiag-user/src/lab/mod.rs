//! The incidents in network namespaces on this machine.
