//! Client-to-server masking, RFC 6455 section 5.3, eight bytes at a time.

const WORD_BYTES: usize = 8;

/// Masks or unmasks `data` in place, its first byte with octet `offset % 4` of the key.
///
/// Equal to `data[i] ^= key[(offset + i) % 4]` for every `i`; tests hold the two together.
pub fn apply(data: &mut [u8], key: [u8; 4], offset: usize) {
    let mut turned = key;
    turned.rotate_left(offset % 4);
    let [a, b, c, d] = turned;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = data.chunks_exact_mut(WORD_BYTES);
    for chunk in &mut words {
        if let Ok(bytes) = <[u8; WORD_BYTES]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ word).to_ne_bytes());
        }
    }
    for (byte, key_byte) in words.into_remainder().iter_mut().zip(turned.iter().cycle()) {
        *byte ^= key_byte;
    }
}
