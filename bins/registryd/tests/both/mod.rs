//! Test cases that run on SQLite and on PostgreSQL.

/// Environment variables for registryd.
pub(crate) type Environment<'a> = &'a [(&'a str, &'a str)];

/// Stamps each case on both databases.
macro_rules! on_both_databases {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $case() {
                super::$case(&[]);
            })+
        }

        mod postgres {
            $(#[test]
            fn $case() {
                super::$case(&[("REGISTRY_DATABASE_URL", &crate::fleet::database())]);
            })+
        }
    };
}
pub(crate) use on_both_databases;

/// This environment and more of it.
pub(crate) fn with<'a>(
    environment: &[(&'a str, &'a str)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    [environment, more].concat()
}
