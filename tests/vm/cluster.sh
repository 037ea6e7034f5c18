# shellcheck shell=bash
# Jobs for the nodes of a cluster. Sourced after lib.sh and boot.sh.

# node_job NAME VARIABLES FILE…: the folder of a node's job: the libraries of guests and nodes, kpx-prep if there is one,
# and these files; the first is what runs. VARIABLES are set before: NODE, ADDRESS, CONTROL_PLANE, WORKERS.
node_job() {
    local folder=$RUN/$1 variables=$2 file
    shift 2
    mkdir -p "$folder/logs"
    cp "$VM_DIR/../support/reports.sh" "$VM_DIR/guest/lib/lib" "$folder/"
    cp "$VM_DIR/node/lib" "$folder/node-lib"
    for file; do cp "$file" "$folder/"; done
    [ -z "${KPX_PREP:-}" ] || cp "$KPX_PREP" "$folder/kpx-prep"
    printf '%s\n. /job/reports.sh\n. /job/lib\n. /job/node-lib\n. "/job/%s"\nend_reports\n' "$variables" "$(basename "$1")" >"$folder/run"
    echo "$folder"
}

# How many times longer than on our machine things may take, before a test gives up.
PATIENCE=${PATIENCE:-2}

# run_nodes NODE-1-SCRIPT VARIABLES VARIABLES-OF-NODE-2 FILE…: two guests at a time, of $image, for $scenario.
run_nodes() {
    local share=$RUN/$scenario.share script=$1 own=$3 seconds=$((1500 * PATIENCE)) one two common second
    mkdir "$share"
    common="PATIENCE=$PATIENCE WORKERS='node-1 node-2' SHARE=$share CONTROL_PLANE=10.9.0.1 $2"
    shift 3
    one=$(node_job "$scenario-1" "NODE=node-1 ADDRESS=10.9.0.1 $common" "$script" guest/lib/cluster-lib "$@")
    two=$(node_job "$scenario-2" "NODE=node-2 ADDRESS=10.9.0.2 $common $own" guest/jobs/cluster-worker guest/lib/cluster-lib "$@")
    start_switch "$image" || { not_ok "the switch between the nodes" "$RUN/network.log"; return 0; }
    set -m # a process group of its own, to be stopped as a whole
    boot_node node-2 "$image" "$two" "$seconds" 1500M 1 >"$two/boot.log" 2>&1 &
    second=$!
    set +m
    if boot_node node-1 "$image" "$one" "$seconds" 2500M 0; then count_tap "$scenario, node-1" "$one/out"; fi
    # However the first one ended.
    touch "$share/done"
    if wait "$second"; then count_tap "$scenario, node-2" "$two/out"; else not_ok "$scenario: node-2" "$two/boot.log"; fi
    # The next scenario's nodes have a network of their own, or none.
    kill "$network"
    wait "$network" || true
    rm -f "$RUN/network"
}

# run_lab NODE-1-SCRIPT [VARIABLES-OF-NODE-2 [FILE…]]: two nodes, Services of every kind, and the load (guest/lib/lab).
# VARIABLES are for both.
run_lab() {
    need_lab
    run_nodes "$1" "DUAL_STACK=yes ${VARIABLES:-}" "${2:-}" guest/lib/lab guest/lib/lab-* "$KPX_LAB" "${@:3}"
}

# load_tables FOLDER…: what the jobs in these folders counted under load (guest/lib/lab-load), as tables. Nothing if none did.
load_tables() { [ $# = 0 ] || [ -z "${KPX_LAB:-}" ] || "$KPX_LAB" figures tables "${@/%//out}"; }
