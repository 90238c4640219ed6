//! Whether a file is mounted by itself, so that no rename can replace it.

use std::path::Path;

/// Whether something is mounted at this path, which has no links in it. Where the system does not say so, the first
/// rename does.
pub(crate) fn is_mounted(path: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;

        let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let place = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescaped);
        mounts.split(|byte| *byte == b'\n').any(|line| place(line).as_deref() == Some(path.as_os_str().as_bytes()))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        false
    }
}

/// Spaces, tabs, line feeds and backslashes are written there as three octal digits.
#[cfg(target_os = "linux")]
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&first, others)) = rest.split_first() {
        let digits = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &others[3..];
            }
            _ => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    bytes
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn places_of_mounts_are_unescaped() {
        assert_eq!(unescaped(b"/a\\040b\\134\\011"), b"/a b\\\t");
        assert_eq!(unescaped(b"/plain\\9\\"), b"/plain\\9\\");
        assert!(is_mounted(Path::new("/proc")) && !is_mounted(Path::new("/proc/self")));
    }
}
