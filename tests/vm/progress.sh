# shellcheck shell=bash
# What a person sees of a build that takes minutes. Sourced after lib.sh.

# with_progress WHAT TYPICAL COMMAND…: runs it; its output is in $RUN/built. Each line that it writes to stderr is a step; the
# last one is shown with the time it has taken so far, on a terminal all the time on one line, else every 15 s.
with_progress() {
    local what=$1 typical=$2 log=$RUN/progress.log from=$SECONDS pid status=0 every=${PROGRESS_EVERY:-15} line told
    shift 2
    [ ! -t 1 ] || every=1
    : >"$log"
    set -m # a process group of its own, to be stopped as a whole
    "$@" >"$RUN/built" 2>"$log" </dev/null &
    pid=$!
    set +m
    told=$((SECONDS - every + 1))
    while kill -0 "$pid" 2>/dev/null; do
        if [ $((SECONDS - told)) -ge "$every" ]; then
            told=$SECONDS
            line="  $what: $(step_of "$log"); $(minutes $((SECONDS - from))) so far, $typical in all"
            if [ -t 1 ]; then printf '\r\033[K%.*s' "$(($(tput cols 2>/dev/null || echo 80) - 1))" "$line"; else echo "$line"; fi
        fi
        sleep 1
    done
    wait "$pid" || status=$?
    [ ! -t 1 ] || printf '\r\033[K'
    if [ "$status" = 0 ]; then echo "  $what: done after $(minutes $((SECONDS - from)))"; else tail -n 40 "$log"; fi
    return "$status"
}

# step_of LOG: the last line in which a builder said what it does (control-plane, lib.sh), in plain words.
step_of() {
    local step
    step=$(sed -n -e 's/^control-plane: //p' -e 's/^# building cluster .*/making the disk of a node: Debian, containerd, images/p' \
        -e 's/^# \(building [^ ]*\) .*/\1/p' -e 's/^# \(waiting .*\)/\1/p' "$1" | tail -n 1)
    echo "${step:-starting}"
}

minutes() { if [ "$1" -lt 60 ]; then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi; }
