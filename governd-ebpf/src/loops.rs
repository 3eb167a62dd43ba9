//! Loops of the programs, by the helper that repeats.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::bpf_loop;
use governd_common::repeat::{Repeat, Step, Work};

/// The helper, since Linux 5.17; [`crate::calls`] is for kernels before that.
pub(crate) struct Helper;

impl Repeat for Helper {
    #[inline(always)]
    fn repeat<S, W: Work<S>>(max: u32, state: &mut S) {
        let mut context = ptr::from_mut(state);
        let body = round::<S, W> as *const c_void as *mut c_void;
        // SAFETY: the helper calls `round` with the context it gets, on this stack.
        unsafe { bpf_loop(max, body, (&raw mut context).cast(), 0) };
    }
}

extern "C" fn round<S, W: Work<S>>(index: u32, context: *mut c_void) -> i64 {
    // SAFETY: `Helper::repeat` passes the address of a pointer to its exclusive reference.
    let state = unsafe { &mut **context.cast::<*mut S>() };
    i64::from(W::step(index, state) == Step::Stop)
}
