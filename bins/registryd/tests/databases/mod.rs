//! Test cases that run on SQLite and on PostgreSQL.

/// Environment variables for registryd.
pub(crate) type Environment<'a> = &'a [(&'a str, &'a str)];

/// Makes two tests of each case: one on SQLite and one on PostgreSQL.
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

/// Returns the environment with `more` variables.
pub(crate) fn with<'a>(
    environment: &[(&'a str, &'a str)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    [environment, more].concat()
}
