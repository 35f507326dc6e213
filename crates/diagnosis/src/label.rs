//! Names as Velero writes them into labels, which hold 63 bytes: one rule for most labels, and one for labels of
//! repositories.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use sha3::Sha3_224;

/// The most bytes of a label's value.
const MOST: usize = 63;
/// Bytes kept of a longer name, before the six digits.
const HEAD: usize = 57;

/// A name as Velero writes it into a label: up to 63 bytes as it is, else its first 57 and the first six hex digits of
/// its SHA-256 (`label.GetValidName`).
pub fn valid_label(name: &str) -> String {
    if name.len() <= MOST {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    let mut head = HEAD;
    while !name.is_char_boundary(head) {
        head -= 1;
    }
    format!("{}{:02x}{:02x}{:02x}", &name[..head], digest[0], digest[1], digest[2])
}

/// A BackupRepository's name as maintenance Jobs and their pods carry it in `velero.io/repo-name`: up to 63 bytes as it
/// is, else the 56 hex digits of its SHA3-224 (`label.ReturnNameOrHash`, Velero 1.18; older ones cannot maintain a
/// repository with a longer name).
pub fn repository_label(name: &str) -> String {
    if name.len() <= MOST {
        return name.to_owned();
    }
    let mut digits = String::with_capacity(56);
    for byte in Sha3_224::digest(name.as_bytes()) {
        // Writing into a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, `GetValidName`, `ReturnNameOrHash`: printed by Velero 1.18.1's own pkg/label.
    const BY_VELERO: [(&str, &str, &str); 5] = [
        ("nightly", "nightly", "nightly"),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaffe054",
            "ce06309528da04278a8072ca96610a47298cbca3a9b6a0ee7f581316",
        ),
        (
            "this_is_a_very_long_label_value_that_will_be_rejected_by_Kubernetes",
            "this_is_a_very_long_label_value_that_will_be_rejected_by_8d0722",
            "1a7399f2d00e268fc12daf431d6667319d1461e2609981070bb7e85c",
        ),
        (
            "shop-shop-shop-shop-shop-shop-shop-shop-shop-shop-two-default-of-the-whole-company-kopia",
            "shop-shop-shop-shop-shop-shop-shop-shop-shop-shop-two-def19122b",
            "3d0e51e6000a616a65a2b9446dc359a8f1b20ee5230322f971d393dd",
        ),
    ];

    #[test]
    fn labels_hold_names_as_velero_writes_them() {
        for (name, valid, of_repository) in BY_VELERO {
            assert_eq!(valid_label(name), valid, "{name}");
            assert_eq!(repository_label(name), of_repository, "{name}");
        }
        assert_eq!(valid_label(&"é".repeat(40)).len(), 62, "cut on a character border");
    }
}
