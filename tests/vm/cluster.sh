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
    gcc -O2 -static -o "$RUN/load" guest/tools/load.c || die "compiling the client"
    run_nodes "$1" "DUAL_STACK=yes ${VARIABLES:-}" "${2:-}" guest/lib/lab guest/lib/lab-* "$RUN/load" "${@:3}"
}

# load_tables FOLDER…: what the jobs in these folders counted under load (guest/lib/lab-load), as tables.
load_tables() {
    [ $# -gt 0 ] || return 0
    cat "${@/%//out}" | tr -d '\r' | awk -F'|' '
        /^G / {
            if (!goals++) { print "| | goal | measured | | |"; print "|---|---|---|---|---|" }
            print "| " substr($1, 3) " | " $2 " | " $3 " | " $4 " | " $5 " |"
        }
        /^F / {
            if (!rows && goals) print ""
            if (!rows++) {
                print "| | a second | new connections | lost | of these while kube-proxy had not heard of the endpoints | hanging | slow | long-lived | lost | leftovers | seconds |"
                print "|---|---|---|---|---|---|---|---|---|---|---|"
            }
            print "| " substr($1, 3) " | " $2 " | " $3 " | " $4 " | " $5 " | " $6 " | " $7 " | " $8 " | " $9 " | " $10 " | " $11 " |"
        }
        /^K / {
            how = substr($1, 3)
            if (!(how in column)) { column[how] = ++columns; title[columns] = how }
            key = $2 ", from " ($3 == "outside" ? $3 : $3 == "pod" ? "a pod" : "the host")
            cell[key, column[how]] = $5 " of " $4
            keys[key]
        }
        END {
            if (!columns) exit
            head = "| lost, by Service and place |"; line = "|---|"
            for (c = 1; c <= columns; c++) { head = head " " title[c] " |"; line = line "---|" }
            print ""; print head; print line
            for (key in keys) {
                row = "| " key " |"
                for (c = 1; c <= columns; c++) row = row " " cell[key, c] " |"
                print row | "sort"
            }
        }'
}
