use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::Rejection;
use crate::digest::sha256;

/// The scheme of [`KeyDigest`]: 1 is SHA-256 of the whole key. A record with any other version is rejected.
pub const DIGEST_VERSION: u32 = 1;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LEN: usize = 12;
const SECRET_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const ID_AT: usize = ApiKey::PREFIX.len();
const SECRET_AT: usize = ID_AT + ID_LEN + 1;
const CHECKSUM_AT: usize = SECRET_AT + SECRET_LEN;

/// An API key as its holder presents it: a secret. It can't be printed; only [`ApiKey::expose`] returns its text.
///
/// ```text
/// vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT     65 ASCII characters, always
/// └┬┘└────┬─────┘ └────────────────────┬────────────────────┘└──┬──┘
/// prefix  id: 12 base62               secret: 43 base62         checksum: 6 base62
/// ```
/// The id is public and names the key. The secret is 256 random bits. The checksum, CRC-32/ISO-HDLC of everything before it,
/// stops typos and invented keys without I/O; it adds no security, since anyone can compute it.
#[derive(Clone, ZeroizeOnDrop)]
pub struct ApiKey {
    /// Allocated once, at its full length: growing it would leave a copy that isn't wiped.
    text: String,
}

impl ApiKey {
    /// The prefix of every key.
    pub const PREFIX: &'static str = "vk_";
    /// The length of every key, in ASCII characters.
    pub const LEN: usize = CHECKSUM_AT + CHECKSUM_LEN;

    /// The key with this id and secret.
    pub fn new(id: KeyId, secret: &KeySecret) -> Self {
        let mut text = String::with_capacity(Self::LEN);
        text.push_str(Self::PREFIX);
        text.extend(id.0.map(char::from));
        text.push('_');
        text.extend(base62::<SECRET_LEN>(&secret.0).map(char::from));
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Self { text }
    }

    /// The public id, which names the key in URLs, lists and logs.
    pub fn id(&self) -> KeyId {
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&self.text.as_bytes()[ID_AT..ID_AT + ID_LEN]);
        KeyId(id)
    }

    /// The only form of the key that may be stored.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(sha256(self.text.as_bytes()))
    }

    /// The whole key, to show to its owner once, and nowhere else.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl FromStr for ApiKey {
    type Err = Rejection;

    /// Accepts exactly the form above: no trimming, no other length, and only the right checksum.
    fn from_str(text: &str) -> Result<Self, Rejection> {
        let bytes = text.as_bytes();
        if bytes.len() != Self::LEN || !text.starts_with(Self::PREFIX) || bytes[SECRET_AT - 1] != b'_' {
            return Err(Rejection::MalformedKey);
        }
        if ![&bytes[ID_AT..SECRET_AT - 1], &bytes[SECRET_AT..]].into_iter().flatten().all(u8::is_ascii_alphanumeric) {
            return Err(Rejection::MalformedKey);
        }
        if checksum(&bytes[..CHECKSUM_AT]) != bytes[CHECKSUM_AT..] {
            return Err(Rejection::Checksum);
        }
        Ok(Self { text: text.to_owned() })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

/// A key's 256 random bits. A secret: it can't be printed.
#[derive(ZeroizeOnDrop)]
pub struct KeySecret([u8; 32]);

impl KeySecret {
    /// Takes 32 bytes from the operating system's random source, and wipes them.
    pub fn from_entropy(entropy: &mut [u8; 32]) -> Self {
        let secret = Self(*entropy);
        entropy.zeroize();
        secret
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(redacted)")
    }
}

/// The public name of a key: 12 base62 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_LEN]);

impl KeyId {
    /// Twelve uniform digits from 16 random bytes: 128 bits over 62¹² leave a bias below 2⁻⁵⁶.
    pub fn from_entropy(entropy: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(entropy) % 62_u128.pow(12);
        Self(base62(&number.to_be_bytes()))
    }

    /// The id's twelve digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The text is not 12 base62 digits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key id: 12 letters and digits")]
pub struct NotAKeyId;

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let id: [u8; ID_LEN] = text.as_bytes().try_into().map_err(|_| NotAKeyId)?;
        if id.iter().all(u8::is_ascii_alphanumeric) { Ok(Self(id)) } else { Err(NotAKeyId) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// SHA-256 of a key's 65 characters: the only form of a key that is stored. 256 random bits need no slow hash.
#[derive(Clone)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// A digest read back from the store: 32 bytes, else `None`.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes, for the store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this is the digest of `key`, in constant time.
    pub fn matches(&self, key: &ApiKey) -> bool {
        self.0.ct_eq(&key.digest().0).into()
    }
}

/// A digest grants nothing, but it would confirm a guess: it isn't printed either.
impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(redacted)")
    }
}

/// The checksum of everything before it.
fn checksum(text: &[u8]) -> [u8; CHECKSUM_LEN] {
    base62(&crc32fast::hash(text).to_be_bytes())
}

/// The last `N` base62 digits of a big-endian number, left-padded with `0`: long division by 62, one digit per round.
fn base62<const N: usize>(number: &[u8]) -> [u8; N] {
    let mut rest = zeroize::Zeroizing::new(number.to_vec());
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u16;
        for byte in rest.iter_mut() {
            let dividend = remainder << 8 | u16::from(*byte);
            // The remainder is below 62, so the quotient fits into the low byte.
            [_, *byte] = (dividend / 62).to_be_bytes();
            remainder = dividend % 62;
        }
        *digit = DIGITS[usize::from(remainder)];
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The format's published vectors: id, secret, key, SHA-256.
    fn vectors() -> [(&'static str, [u8; 32], &'static str, &'static str); 3] {
        let counting = std::array::from_fn(|index| u8::try_from(index).unwrap());
        [
            (
                "000000000000",
                [0x00; 32],
                "vk_000000000000_00000000000000000000000000000000000000000001CDPBd",
                "481580d5fc6167ff87e28c9c6a22312a8d925f324d39c07eb5c5d24213a801e7",
            ),
            (
                "zzzzzzzzzzzz",
                [0xff; 32],
                "vk_zzzzzzzzzzzz_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp10NDXNk",
                "8d43c1fad83173c0bdb636484be4a31e10b1208e1d5b5d4dc8a560a982e8f707",
            ),
            (
                "7Gh2kQ9XbT4m",
                counting,
                "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT",
                "451f97e3c93b45ebfe0de2dd0095ea7a417b118d79e4b348fff70ae25c13b486",
            ),
        ]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    #[test]
    fn the_published_vectors_hold() {
        for (id, mut secret, text, digest) in vectors() {
            let key = ApiKey::new(id.parse().unwrap(), &KeySecret::from_entropy(&mut secret));
            assert_eq!(key.expose(), text);
            assert_eq!(hex(key.digest().as_bytes()), digest);
            assert_eq!(secret, [0; 32], "the entropy is wiped");
            let parsed: ApiKey = text.parse().unwrap();
            assert_eq!(parsed.id().as_str(), id);
            assert!(parsed.digest().matches(&key));
        }
    }

    #[test]
    fn no_single_changed_character_gives_another_key() {
        for (.., text, _) in vectors() {
            for at in 0..ApiKey::LEN {
                for byte in 0x20..0x7f_u8 {
                    let mut changed = text.as_bytes().to_vec();
                    if changed[at] == byte {
                        continue;
                    }
                    changed[at] = byte;
                    assert!(String::from_utf8(changed).unwrap().parse::<ApiKey>().is_err());
                }
            }
        }
    }

    #[test]
    fn only_the_exact_form_is_accepted() {
        let good = vectors()[2].2;
        for bad in ["", "vk_", &good[1..], &good[..64], &format!("{good} "), &format!(" {good}"), &format!("{good}a")] {
            assert_eq!(bad.parse::<ApiKey>().unwrap_err(), Rejection::MalformedKey, "{}", bad.len());
        }
        assert_eq!(good.replace("vk_7", "VK_7").parse::<ApiKey>().unwrap_err(), Rejection::MalformedKey);
        assert_eq!(good.replace("m_0", "m00").parse::<ApiKey>().unwrap_err(), Rejection::MalformedKey);
        assert_eq!(good.replace("Gh2", "gh2").parse::<ApiKey>().unwrap_err(), Rejection::Checksum);
        // 65 bytes, but not 65 characters.
        assert_eq!(good.replace("Gh", "é").parse::<ApiKey>().unwrap_err(), Rejection::MalformedKey);
    }

    #[test]
    fn nothing_secret_can_be_printed() {
        let (_, mut secret, text, digest) = vectors()[2];
        let key: ApiKey = text.parse().unwrap();
        let secret = KeySecret::from_entropy(&mut secret);
        let printed = format!("{key:?} {:?} {secret:?} {:#?}", key.digest(), key);
        assert!(!printed.contains(&text[16..]), "{printed}");
        assert!(!printed.contains(digest), "{printed}");
    }

    proptest! {
        #[test]
        fn every_new_key_parses_back_to_its_id(id: [u8; 16], mut secret: [u8; 32]) {
            let id = KeyId::from_entropy(id);
            let key = ApiKey::new(id, &KeySecret::from_entropy(&mut secret));
            let parsed: ApiKey = key.expose().parse().unwrap();
            prop_assert_eq!(parsed.id(), id);
            prop_assert!(parsed.digest().matches(&key));
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<ApiKey>();
            let _ = text.parse::<KeyId>();
        }
    }
}
