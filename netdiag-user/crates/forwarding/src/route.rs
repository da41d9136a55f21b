//! Routing: which rule, which table, which route, which next hop.
pub mod back;
pub mod decision;
pub mod reverse_path;
pub mod rules;
mod source6;
pub mod table;
pub mod v4;
pub mod v6;
