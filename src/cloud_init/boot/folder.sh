# Where /usr is read-only, as on Flatcar, /opt is not.
folder=$(dirname "$kpx")
if ! { mkdir -p "$folder" && [ -w "$folder" ]; } 2>/dev/null; then
  folder=/opt/bin kpx=/opt/bin/kpx-prep
  mkdir -p "$folder"
fi
