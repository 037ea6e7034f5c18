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

# load_tables FOLDER…: what the jobs in these folders counted under load (guest/lab-load), as tables.
load_tables() {
    cat "${@/%//out}" | tr -d '\r' | awk -F'|' '
        /^F / {
            if (!rows++) {
                print "| | new connections | lost | of these hanging | slow | long-lived | lost | leftovers | seconds |"
                print "|---|---|---|---|---|---|---|---|---|"
            }
            print "| " substr($1, 3) " | " $2 " | " $3 " | " $4 " | " $5 " | " $6 " | " $7 " | " $8 " | " $9 " |"
        }
        /^K / {
            how = substr($1, 3)
            if (!(how in column)) { column[how] = ++columns; title[columns] = how }
            key = $2 ", from " ($3 == "outside" ? $3 : "the " $3)
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
