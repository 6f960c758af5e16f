//! Keeps a crash from leaving secrets behind, where the system lets a process ask for that: on Unix, not on Windows. Called
//! first of all, before anything secret is in memory. What the secrets are and how they are held is not known here.

/// Switches core dumps off for this process, and on Linux also forbids other processes of the same user to attach to it
/// and read its memory.
///
/// Failing is no reason to stop: a system that doesn't allow this is no worse off than without it.
pub fn keep_memory_private() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let _ = setrlimit(
            Resource::Core,
            Rlimit {
                current: Some(0),
                maximum: Some(0),
            },
        );
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    #[test]
    fn no_core_is_dumped_and_nobody_attaches() {
        super::keep_memory_private();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
