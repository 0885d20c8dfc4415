//! Cursors for lists that are newest first.

use uuid::Uuid;

use crate::clock::Timestamp;

/// A position in a list: that of one of its rows. The rows after it are older, or of the same age
/// with a smaller id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor<I> {
    /// Time of the row's creation.
    pub at: Timestamp,
    /// Id of the row.
    pub id: I,
}

impl<I: Copy + Into<Uuid> + From<Uuid>> Cursor<I> {
    /// Formats the cursor for clients: `{microseconds since 1970}.{id}`.
    pub(crate) fn encode(self) -> String {
        let id: Uuid = self.id.into();
        format!("{}.{}", self.at.timestamp_micros(), id.as_simple())
    }

    /// Returns a cursor at `position` for a list of other rows. Their ids MUST be drawn in the same
    /// way.
    pub(crate) fn of(position: Cursor<Uuid>) -> Self {
        Self { at: position.at, id: position.id.into() }
    }

    /// Parses a cursor. Returns `None` for text that [`encode`](Self::encode) cannot have written.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let (micros, id) = text.split_once('.')?;
        let at = Timestamp::from_timestamp_micros(micros.parse().ok()?)?;
        Some(Self { at, id: id.parse::<Uuid>().ok()?.into() })
    }
}

/// Truncates `rows` to a page of `limit` rows. Returns the cursor of the next page if there is one.
pub(crate) fn paginate<R, I: Copy + Into<Uuid> + From<Uuid>>(
    rows: &mut Vec<R>,
    limit: u32,
    position: impl Fn(&R) -> Cursor<I>,
) -> Option<String> {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    rows.last().filter(|_| more).map(|row| position(row).encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;

    #[test]
    fn cursor_survives_encoding() {
        let cursor = Cursor {
            at: Timestamp::from_timestamp_micros(1_800_000_000_000_001).unwrap(),
            id: TenantId(Uuid::max()),
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
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
    fn next_cursor_needs_more_rows() {
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
