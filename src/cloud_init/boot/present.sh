[ -x "$kpx" ] || fail "$kpx does not exist or is not executable"
