//! System calls without the C library, which is gone when they are made.
//!
//! Arguments are what the kernel takes, and results what it returns: errors are negative. On architectures whose calls are
//! not written here, the C library makes them; there, a relay keeps its memory.

use nix::libc::{self, c_long};

/// Whether the calls do without the C library.
pub const ALONE: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Makes a system call.
///
/// # Safety
///
/// What the call does to memory has to be right.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn call(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    let result;
    // SAFETY: this is how syscall(2) describes it.
    unsafe {
        std::arch::asm!(
            "syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack)
        );
    }
    result
}

/// Makes a system call.
///
/// # Safety
///
/// What the call does to memory has to be right.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub unsafe fn call(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    let result;
    // SAFETY: this is how syscall(2) describes it.
    unsafe {
        std::arch::asm!(
            "svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c,
            in("x3") d, in("x4") e, in("x5") f, options(nostack)
        );
    }
    result
}

/// Makes a system call.
///
/// # Safety
///
/// What the call does to memory has to be right.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub unsafe fn call(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> isize {
    // SAFETY: it is the caller's business what the call does.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { -(nix::errno::Errno::last_raw() as isize) } else { result as isize }
}

/// Where the thread's own data is, which the kernel writes to (rseq).
pub fn thread_pointer() -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the first word there is its own address, as the ABI says.
    unsafe {
        let pointer: usize;
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags));
        pointer
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: every program may read this register.
    unsafe {
        let pointer: usize;
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nomem, nostack, preserves_flags));
        pointer
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    0
}

/// Duplicates the process: 0 in the new one.
#[inline(always)]
pub fn fork() -> isize {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: nothing is shared, and there is one thread.
    unsafe {
        call(libc::SYS_clone, libc::SIGCHLD as usize, 0, 0, 0, 0, 0)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    // SAFETY: there is one thread.
    unsafe {
        libc::fork() as isize
    }
}

/// Ends the process.
pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: it does nothing to memory.
        unsafe { call(libc::SYS_exit_group, status, 0, 0, 0, 0, 0) };
    }
}

#[inline(always)]
pub fn close(fd: i32) {
    // SAFETY: nothing else uses the descriptor.
    unsafe { call(libc::SYS_close, fd as usize, 0, 0, 0, 0, 0) };
}
