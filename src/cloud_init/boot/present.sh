[ -x "$kpx" ] || fail "$kpx is not there, or not executable"
