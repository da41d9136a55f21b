//! Routing: which rule, which table, which route, which next hop.
pub mod reverse_path;
pub mod rules;
pub mod table;
pub mod v4;
