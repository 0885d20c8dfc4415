//! Waiting for an observed state, instead of sleeping.

use std::time::Duration;

/// Waits until `check` returns a value, for about 20 seconds at most.
#[track_caller]
pub(crate) fn wait_for<T>(state: &str, mut check: impl FnMut() -> Option<T>) -> T {
    for _ in 0..400 {
        if let Some(value) = check() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("timeout while waiting for: {state}")
}
