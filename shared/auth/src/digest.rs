use ring::digest::{SHA256, digest};

/// SHA-256 by ring, as everywhere: docs/decisions.md, "One crypto library".
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::sha256;

    proptest! {
        #[test]
        fn another_implementation_computes_the_same_digest(bytes: Vec<u8>) {
            prop_assert_eq!(sha256(&bytes), <[u8; 32]>::from(Sha256::digest(&bytes)));
        }
    }
}
