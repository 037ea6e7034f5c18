verified "$kpx" || fail "SHA-256 mismatch for $kpx (expected $sha256); it was not run"
