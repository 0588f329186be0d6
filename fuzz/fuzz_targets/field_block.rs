//! A block of the field index: its directory, what tells the slots and a group of values, their
//! lengths u16 in front; then a number to search from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::internals;

fuzz_target!(|bytes: &[u8]| {
    let Some((head, rest)) = bytes.split_at_checked(6) else { return };
    let length = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let (directory, rest) = rest.split_at(length(0).min(rest.len()));
    let (slots, rest) = rest.split_at(length(2).min(rest.len()));
    internals::field_block(directory, slots, rest, length(4) as u32);
});
