verified "$kpx" || fail "$kpx has not the SHA-256 $sha256: not run"
