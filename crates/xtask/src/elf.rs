//! The few fields of an ELF header that say whether a binary can be the only file of an image.

use anyhow::{Result, bail, ensure};

/// `PT_INTERP`, the program header that names a dynamic loader (System V ABI, chapter 5).
const INTERPRETER: u32 = 3;

/// The architecture of a static 64-bit Linux binary, by the name that images have for it.
pub(crate) fn architecture(binary: &[u8]) -> Result<&'static str> {
    let header = binary.first_chunk::<64>();
    let Some(header) = header.filter(|header| header.starts_with(b"\x7fELF\x02\x01")) else {
        bail!("it is not a 64-bit little-endian ELF binary");
    };
    let machine = u16::from_le_bytes([header[18], header[19]]);
    let architecture = match machine {
        62 => "amd64",
        183 => "arm64",
        other => bail!("its machine is {other}; expected 62 (amd64) or 183 (arm64)"),
    };
    let (Ok(offset), size, count) = (
        usize::try_from(u64::from_le_bytes(header[32..40].try_into()?)),
        usize::from(u16::from_le_bytes([header[54], header[55]])),
        usize::from(u16::from_le_bytes([header[56], header[57]])),
    ) else {
        bail!("its program headers are outside the file");
    };
    ensure!(size >= 4 && count > 0, "it has no program headers");
    let headers = binary.get(offset..).and_then(|rest| rest.get(..size * count));
    let Some(headers) = headers else { bail!("its program headers are outside the file") };
    let is_dynamic = headers.chunks(size).any(|header| header.starts_with(&INTERPRETER.to_le_bytes()));
    ensure!(!is_dynamic, "it names a dynamic loader, which the image does not have; compile it for a musl target");
    Ok(architecture)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A static binary for amd64 with one program header, which no kernel would run.
    pub(crate) fn binary() -> Vec<u8> {
        let mut binary = vec![0; 64 + 56];
        binary[..6].copy_from_slice(b"\x7fELF\x02\x01");
        binary[18] = 62;
        binary[32] = 64;
        binary[54] = 56;
        binary[56] = 1;
        binary[64] = 1; // PT_LOAD
        binary
    }

    fn error(change: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut binary = binary();
        change(&mut binary);
        architecture(&binary).unwrap_err().to_string()
    }

    #[test]
    fn accepts_only_static_binaries_of_the_two_architectures() {
        assert_eq!(architecture(&binary()).unwrap(), "amd64");
        assert!(error(|binary| binary[64] = 3).contains("dynamic loader"));
        assert!(error(|binary| binary[18] = 3).contains("machine is 3"));
        assert!(error(|binary| binary[4] = 1).contains("64-bit"));
        assert!(error(|binary| binary[32] = 65).contains("outside the file"));
        assert!(error(|binary| binary.truncate(63)).contains("not a 64-bit"));
        assert!(error(|binary| binary[56] = 0).contains("no program headers"));
    }
}
