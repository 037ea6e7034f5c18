download() {
  if command -v curl >/dev/null; then curl -fsSL --connect-timeout 15 --max-time 300 -o "$2" "$1"
  elif command -v wget >/dev/null; then wget -q -T 60 -O "$2" "$1"
  else fail "cannot download $1: neither curl nor wget is installed"; fi
}
if ! verified "$kpx"; then
  # In the same directory, so that the binary is put in place atomically.
  new=$(mktemp "$folder/.kpx-prep.XXXXXX")
  trap 'rm -f "$new"' EXIT
  try=1
  until download "$url" "$new"; do
    [ "$try" -lt 5 ] || fail "downloading $url failed $try times"
    sleep $((try * 2))
    try=$((try + 1))
  done
  verified "$new" || fail "SHA-256 mismatch for $url (expected $sha256); the download was deleted"
  chmod 0755 "$new"
  mv -f "$new" "$kpx"
  trap - EXIT
fi
