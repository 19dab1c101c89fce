//! What the authenticator itself says, and signs (§6.1).

use super::cbor;

/// Bytes of the hash of a relying party's name.
const PARTY_BYTES: usize = 32;
/// Bytes of the model's name, which is not looked at.
const MODEL_BYTES: usize = 16;

/// Bits of the flags.
const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;

/// The statement, taken apart.
pub(super) struct AuthenticatorData<'a> {
    /// SHA-256 of the name that it answered to.
    pub(super) party: &'a [u8],
    flags: u8,
    /// How often the key signed.
    pub(super) sign_count: u32,
    /// The new key.
    pub(super) credential: Option<Credential<'a>>,
}

/// A new key.
#[derive(Clone, Copy)]
pub(super) struct Credential<'a> {
    pub(super) id: &'a [u8],
    /// COSE.
    pub(super) public_key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all of `bytes`. Extensions that nobody asked for are well formed, and not looked at.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (party, rest) = bytes.split_at_checked(PARTY_BYTES)?;
        let ([flags], rest) = rest.split_first_chunk()?;
        let (count, mut rest) = rest.split_first_chunk()?;
        let mut credential = None;
        if flags & HAS_CREDENTIAL != 0 {
            let (_, after) = rest.split_at_checked(MODEL_BYTES)?;
            let (length, after) = after.split_first_chunk()?;
            let (id, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let (_, behind) = cbor::read(after)?;
            let public_key = after.get(..after.len().checked_sub(behind.len())?)?;
            credential = Some(Credential { id, public_key });
            rest = behind;
        }
        if flags & HAS_EXTENSIONS != 0 {
            let (extensions, behind) = cbor::read(rest)?;
            extensions.is_map().then_some(())?;
            rest = behind;
        }
        let sign_count = u32::from_be_bytes(*count);
        rest.is_empty().then_some(Self { party, flags: *flags, sign_count, credential })
    }

    pub(super) fn user_present(&self) -> bool {
        self.flags & PRESENT != 0
    }

    pub(super) fn user_verified(&self) -> bool {
        self.flags & VERIFIED != 0
    }

    pub(super) fn backup_eligible(&self) -> bool {
        self.flags & BACKUP_ELIGIBLE != 0
    }

    pub(super) fn backed_up(&self) -> bool {
        self.flags & BACKED_UP != 0
    }
}
