//! What the kernel says about how well its clock is kept.

/// How the clock is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Something, such as chrony or systemd-timesyncd, keeps it.
    pub(super) is_kept: bool,
    /// How far it may be off at the most, in microseconds.
    pub(super) error_max_us: libc::c_long,
}

/// Asks the kernel and changes nothing; `None` where it does not tell.
#[cfg(target_os = "linux")]
pub(super) fn ask() -> Option<Clock> {
    // SAFETY: `timex` is a struct of integers, for which all bits zero is a value; with it `modes` is zero, which means
    // to read and not to set.
    let mut answer: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a whole `timex` that lives until the call has returned, and nobody else has it.
    let state = unsafe { libc::adjtimex(&raw mut answer) };
    let is_kept = state != libc::TIME_ERROR && answer.status & libc::STA_UNSYNC == 0;
    (state >= 0).then_some(Clock { is_kept, error_max_us: answer.maxerror })
}

/// Other systems have no such call.
#[cfg(not(target_os = "linux"))]
pub(super) fn ask() -> Option<Clock> {
    None
}
