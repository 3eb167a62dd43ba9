//! Table of the hooks; the work is in the module of each family.
#![no_std]
#![no_main]

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};

/// `connect(2)` on IPv4, since Linux 4.17: before the first packet, in the caller's context.
#[cgroup_sock_addr(connect4)]
fn connect4(_ctx: SockAddrContext) -> i32 {
    1
}

/// Programs cannot panic: the verifier refuses what could loop here.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
