//! Keys that were renamed. An old key is an error that names the new one: ignoring it would leave a
//! default in force, such as a rate limit.

/// Old key, new key.
const RENAMED: &[(&str, &str)] = &[
    ("door.enabled", "web.enabled"),
    ("door.self_service", "web.self_service"),
    ("door.checkout_url", "web.checkout_url"),
    ("door.blocked_domains", "web.blocked_domains"),
    ("door.asks", "rate_limit.mails"),
    ("door.link_lifetime", "sign_in.link_lifetime"),
    ("door.session_idle", "sign_in.session_idle"),
    ("door.session_lifetime", "sign_in.session_lifetime"),
    ("guesses.limit", "rate_limit.code_guesses"),
    ("guesses.window", "rate_limit.window"),
];

/// All renamed keys, old and new.
pub(super) fn renamed() -> impl Iterator<Item = (&'static str, &'static str)> {
    RENAMED.iter().copied()
}
