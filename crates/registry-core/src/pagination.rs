//! Places in lists that are newest first, and the cursors that stand for them.

use uuid::Uuid;

use crate::clock::Timestamp;

/// A place in a list: that of one of its rows. What comes after it is older, or as old and of a
/// smaller id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor<I> {
    /// When the row was made.
    pub at: Timestamp,
    /// The row.
    pub id: I,
}

impl<I: Copy + Into<Uuid> + From<Uuid>> Cursor<I> {
    /// As callers keep it: `{microseconds since 1970}.{id}`.
    pub(crate) fn encode(self) -> String {
        let id: Uuid = self.id.into();
        format!("{}.{}", self.at.timestamp_micros(), id.as_simple())
    }

    /// The same place in a list of other rows, among which ids are drawn alike.
    pub(crate) fn of(place: Cursor<Uuid>) -> Self {
        Self { at: place.at, id: place.id.into() }
    }

    /// Reads a cursor; `None` where it is not one of ours.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (micros, id) = text.split_once('.')?;
        let at = Timestamp::from_timestamp_micros(micros.parse().ok()?)?;
        Some(Self { at, id: id.parse::<Uuid>().ok()?.into() })
    }
}

/// Takes what goes beyond a page off it; what to ask for the next page with, where there is one.
pub(crate) fn paginate<R, I: Copy + Into<Uuid> + From<Uuid>>(
    rows: &mut Vec<R>,
    limit: u32,
    place: impl Fn(&R) -> Cursor<I>,
) -> Option<String> {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    rows.last().filter(|_| more).map(|row| place(row).encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is() {
        let place = Cursor {
            at: Timestamp::from_timestamp_micros(1_800_000_000_000_001).unwrap(),
            id: TenantId(Uuid::max()),
        };
        assert_eq!(Cursor::decode(&place.encode()), Some(place));
        for text in [
            "",
            "x",
            ".",
            "1",
            "1.",
            "1.x",
            ".ffffffffffffffffffffffffffffffff",
            "99999999999999999999.0",
        ] {
            assert!(Cursor::<TenantId>::decode(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_page_has_a_next_one_where_more_was_found() {
        let page = |found: i64, limit| {
            let mut rows: Vec<i64> = (0..found).collect();
            let at = |row: &i64| Timestamp::from_timestamp(*row, 0).unwrap();
            let next =
                paginate(&mut rows, limit, |row| Cursor { at: at(row), id: TenantId(Uuid::nil()) });
            (rows.len(), next.map(|next| next.split('.').next().unwrap().to_owned()))
        };
        assert_eq!(page(0, 2), (0, None));
        assert_eq!(page(2, 2), (2, None));
        assert_eq!(page(3, 2), (2, Some("1000000".to_owned())));
    }
}
