//! Processes that the kernel OOM kills.
use crate::wire;

/// Bytes of a task's name (`TASK_COMM_LEN`).
pub const COMM: usize = 16;

/// One victim, by its pid.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomKill {
    pub time: u64,
    /// Id of its memory cgroup: the inode of the cgroup's folder. 0 where it could not be told.
    pub cgroup: u64,
    /// Inode of its network namespace, 0 where it could not be told.
    pub netns: u32,
    pub padding: u32,
    /// Its name, all zero where it could not be told.
    pub comm: [u8; COMM],
}
wire!(OomKill, 40);
