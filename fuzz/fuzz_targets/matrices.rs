//! A sparse vector; a matrix under a key of eight bytes, of as many dimensions as byte 0 says; and
//! the definition of a vector field.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan::internals;

fuzz_target!(|bytes: &[u8]| {
    let _ = (internals::vector_field(bytes), internals::sparse(bytes));
    let Some((&dim, matrix)) = bytes.split_first() else { return };
    let _ = internals::matrix(&[0, 0, 0, 1, 0, 0, 0, 2], matrix, usize::from(dim));
});
