//! The text of a listing of names or label sets, counted as memory of its query.
//!
//! What is listed was collected before, within the store's bound of results; here the items and the copies of their
//! text count, so that large listings cannot pile up.

use kansoku_query::memory::{Share, TooMuch};

/// What an item takes besides its text.
const ITEM_BYTES: usize = 64;
/// Copies of a text: in the item, in a list that grows, in the envelope.
const COPIES: usize = 4;

/// The items as a list in JSON.
///
/// # Errors
/// When they and their text are more than the query may hold.
pub fn text<T>(
    items: &[T],
    write: impl Fn(&mut Vec<u8>, &T),
    share: &Share,
) -> Result<Vec<u8>, TooMuch> {
    let n_item_bytes = ITEM_BYTES.saturating_mul(items.len());
    let mut data = vec![b'['];
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            data.push(b',');
        }
        write(&mut data, item);
        share.grow_to(n_item_bytes.saturating_add(COPIES.saturating_mul(data.len())))?;
    }
    data.push(b']');
    Ok(data)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_query::memory::Memory;

    use super::*;

    #[test]
    fn a_list_is_held_to_its_memory() {
        let items = ["1", "22", "333"];
        let write = |out: &mut Vec<u8>, item: &&str| out.extend_from_slice(item.as_bytes());
        let listed = |items: &[&str], limit_bytes| {
            let share = Share::new(Arc::new(Memory::default()), limit_bytes);
            text(items, write, &share)
        };
        assert_eq!(listed(&items, 1000), Ok(b"[1,22,333]".to_vec()));
        assert_eq!(listed(&[], 0), Ok(b"[]".to_vec()));
        assert_eq!(listed(&items, 200), Err(TooMuch::OfOne(200)));
    }
}
