# shellcheck shell=bash
# Jobs for the nodes of a cluster. Sourced after lib.sh and boot.sh.

# node_job NAME VARIABLES FILE…: the folder of a node's job: the libraries of guests and nodes, kpx-prep if there is one,
# and these files; the first is what runs. VARIABLES are set before: NODE, ADDRESS, CONTROL_PLANE, WORKERS.
node_job() {
    local folder=$RUN/$1 variables=$2 file
    shift 2
    mkdir -p "$folder/logs"
    cp "$VM_DIR/guest/lib" "$folder/lib"
    cp "$VM_DIR/node/lib" "$folder/node-lib"
    for file; do cp "$file" "$folder/"; done
    [ -z "${KPX_PREP:-}" ] || cp "$KPX_PREP" "$folder/kpx-prep"
    printf '%s\n. /job/lib\n. /job/node-lib\n. "/job/%s"\nend_job\n' "$variables" "$(basename "$1")" >"$folder/run"
    echo "$folder"
}
