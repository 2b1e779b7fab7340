//! Any bytes as the answer of a forward server: it is read within its bounds, and what was whole
//! stays the same when more bytes follow.
#![no_main]

use kansoku_outputs::forward::answer::{ANSWER_MAX_BYTES, Item, Unread};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match Item::read(bytes) {
        Ok((item, n)) => {
            assert!(n > 0 && n <= bytes.len() && n <= ANSWER_MAX_BYTES);
            assert_eq!(Item::read(&bytes[..n]), Ok((item.clone(), n)));
            assert_eq!(Item::read(&bytes[..n - 1]), Err(Unread::Short));
            let _ = item.get("ack").map(Item::bytes);
        }
        Err(Unread::Short | Unread::Bad) => {}
    }
});
