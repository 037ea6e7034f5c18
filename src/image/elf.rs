//! What a Linux binary needs to run: its architecture, and whether it is statically linked.
//!
//! Only the header and the program headers of 64-bit ELF files are read, as elf(5) lays them out.

/// Why a file is not suitable for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not ELF, not 64-bit, or cut short.
    #[error("not a 64-bit Linux program")]
    NoProgram,
    /// An architecture without a known container platform.
    #[error("unknown architecture (ELF machine {0})")]
    Processor(u16),
    /// It needs a dynamic loader, which an image with one file does not have.
    #[error("dynamically linked, but the image contains no libraries")]
    Dynamic,
}

/// `e_machine` and the platform as a GOARCH name, as the image specification requires.
const PLATFORMS: [(u16, &str); 5] = [(62, "amd64"), (183, "arm64"), (243, "riscv64"), (22, "s390x"), (21, "ppc64le")];
/// `PT_INTERP`: the program header that names a dynamic loader.
const INTERPRETER: u32 = 3;

/// The platform of a static program.
///
/// # Errors
/// Why it cannot be used in an image.
pub fn platform(binary: &[u8]) -> Result<&'static str, Unfit> {
    if binary.get(..5) != Some(b"\x7fELF\x02") {
        return Err(Unfit::NoProgram);
    }
    let big = binary.get(5) == Some(&2);
    let bytes = |at: usize, length: usize| -> Result<u64, Unfit> {
        let slice = binary.get(at..at.saturating_add(length)).ok_or(Unfit::NoProgram)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Ok(if big { slice.iter().fold(0, add) } else { slice.iter().rev().fold(0, add) })
    };
    let small = |at| bytes(at, 2).map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    let machine = small(18)?;
    let (_, platform) = PLATFORMS.iter().find(|(known, _)| *known == machine).ok_or(Unfit::Processor(machine))?;
    let table = usize::try_from(bytes(32, 8)?).map_err(|_| Unfit::NoProgram)?;
    let (size, count) = (usize::from(small(54)?), usize::from(small(56)?));
    for index in 0..count {
        let header = table.checked_add(index * size).ok_or(Unfit::NoProgram)?;
        if bytes(header, 4)? == u64::from(INTERPRETER) {
            return Err(Unfit::Dynamic);
        }
    }
    Ok(platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of one program header.
    fn program(machine: u16, big: bool, kind: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, if big { 2 } else { 1 }]);
        let mut put = |at: usize, number: u64, length: usize| {
            let all = number.to_be_bytes();
            let mut bytes = all[8 - length..].to_vec();
            if !big {
                bytes.reverse();
            }
            file[at..at + length].copy_from_slice(&bytes);
        };
        put(18, u64::from(machine), 2);
        put(32, 64, 8);
        put(54, 56, 2);
        put(56, 1, 2);
        put(64, u64::from(kind), 4);
        file
    }

    #[test]
    fn platforms() {
        for (binary, expected) in [
            (program(62, false, 1), Ok("amd64")),
            (program(183, false, 1), Ok("arm64")),
            (program(22, true, 1), Ok("s390x")),
            (program(62, false, 3), Err(Unfit::Dynamic)),
            (program(40, false, 1), Err(Unfit::Processor(40))),
            (program(62, false, 1)[..70].to_vec(), Ok("amd64")),
            (program(62, false, 1)[..60].to_vec(), Err(Unfit::NoProgram)),
            (b"#!/bin/sh\n".to_vec(), Err(Unfit::NoProgram)),
            (Vec::new(), Err(Unfit::NoProgram)),
        ] {
            assert_eq!(platform(&binary), expected);
        }
    }
}
