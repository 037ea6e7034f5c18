//! What a Linux binary needs to run: its architecture, and whether it is statically linked.
//!
//! Only the header and the program headers of 64-bit ELF files are read, see elf(5).

use object::Endianness;
use object::elf::{self, FileHeader64, Machine};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

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
const PLATFORMS: [(Machine, &str); 5] = [
    (elf::EM_X86_64, "amd64"),
    (elf::EM_AARCH64, "arm64"),
    (elf::EM_RISCV, "riscv64"),
    (elf::EM_S390, "s390x"),
    (elf::EM_PPC64, "ppc64le"),
];

/// The platform of a static program.
///
/// # Errors
/// Why it cannot be used in an image.
pub fn platform(binary: &[u8]) -> Result<&'static str, Unfit> {
    let no_program = |_| Unfit::NoProgram;
    let header = FileHeader64::<Endianness>::parse(binary).map_err(no_program)?;
    let endian = header.endian().map_err(no_program)?;
    let machine = header.e_machine(endian);
    let (_, platform) = PLATFORMS.iter().find(|(known, _)| *known == machine).ok_or(Unfit::Processor(machine.0))?;
    let segments = header.program_headers(endian, binary).map_err(no_program)?;
    // The program header that names a dynamic loader.
    if segments.iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP) {
        return Err(Unfit::Dynamic);
    }
    Ok(platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of one program header.
    fn program(machine: u16, big: bool, kind: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, if big { 2 } else { 1 }, 1]);
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
            (program(62, false, 1)[..70].to_vec(), Err(Unfit::NoProgram)),
            (program(62, false, 1)[..60].to_vec(), Err(Unfit::NoProgram)),
            (b"#!/bin/sh\n".to_vec(), Err(Unfit::NoProgram)),
            (Vec::new(), Err(Unfit::NoProgram)),
        ] {
            assert_eq!(platform(&binary), expected);
        }
    }
}
