//! Exit codes other programs rely on.
pub const OK: i32 = 0;
/// At least one finding of severity warning or critical.
pub const FINDINGS: i32 = 1;
pub const USAGE: i32 = 2;
/// The environment does not allow it.
pub const ENVIRONMENT: i32 = 3;
/// No finding, but not enough was seen to call the node healthy.
pub const INCOMPLETE: i32 = 4;
pub const HUNG_UP: i32 = 129;
pub const INTERRUPTED: i32 = 130;
pub const TERMINATED: i32 = 143;
