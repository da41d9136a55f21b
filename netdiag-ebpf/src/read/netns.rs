//! Which network namespace a packet was in, and on which device.
use super::{field, pointer};
use crate::maps::offset;

/// Inodes of namespaces start here: fixed ones of the initial namespaces end at 0xEFFFFFFF,
/// the others follow (include/uapi/linux/nsfs.h, fs/proc/generic.c PROC_DYNAMIC_FIRST).
const FIRST_INODE: u32 = 0xEFFF_0000;
/// No machine has this many links; what claims to is not a device.
const LAST_IFINDEX: u32 = 1 << 28;

#[inline(always)]
fn inode(net: u64) -> Option<u32> {
    Some(field::<u32>(net, offset!(net_inum))).filter(|inode| *inode >= FIRST_INODE)
}

/// Namespace of a socket of any state: `sock_common` has it.
#[inline(always)]
pub fn of_sock(sk: u64) -> Option<u32> {
    inode(pointer(sk, offset!(sock_net))?)
}

/// Namespace and ifindex of a device. `skb->dev` shares its bytes with a tree node and with
/// UDP's scratch space: what does not look like a device in every field is taken for none.
#[inline(always)]
pub fn of_device(dev: u64) -> Option<(u32, u32)> {
    let ifindex: u32 = field(dev, offset!(dev_ifindex));
    if ifindex == 0 || ifindex > LAST_IFINDEX {
        return None;
    }
    Some((inode(pointer(dev, offset!(dev_net))?)?, ifindex))
}
