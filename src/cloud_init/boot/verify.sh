command -v sha256sum >/dev/null || fail "sha256sum is not installed; kpx-prep cannot be verified and was not run"
verified() { [ -f "$1" ] && echo "$sha256  $1" | sha256sum -c - >/dev/null 2>&1; }
