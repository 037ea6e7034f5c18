# shellcheck shell=dash
# How every test script reports, on this machine and in guests: TAP, https://testanything.org. Sourced by bash, dash and
# busybox's sh: POSIX, and the `local` that these three have.
#   ok 1 - NAME
#   not ok 2 - NAME
#   # what explains it
#   1..2
# The plan comes last: a script that died half-way has none, or one that its results do not match.

# How many results there were, and how many of them were failures.
reported=0
failed=0
# What the command of a `check` says. In a guest nobody else is in /tmp.
check_log=/tmp/check.log

ok() {
    reported=$((reported + 1))
    printf 'ok %s - %s\n' "$reported" "$1"
}

# not_ok NAME [FILE]: FILE is the log that explains it.
not_ok() {
    reported=$((reported + 1))
    failed=$((failed + 1))
    printf 'not ok %s - %s\n' "$reported" "$1"
    if [ -n "${2:-}" ] && [ -e "$2" ]; then tail -n 40 "$2" | tr -d '\r' | sed 's/^/# /'; fi
}

# check NAME COMMAND…: what the command said is shown only if it fails.
check() {
    # Not "name" or "status": what the command sets outside of itself would be these.
    local check_name="$1"
    shift
    if "$@" >"$check_log" 2>&1; then
        ok "$check_name"
    else
        echo "(status $?: $*)" >>"$check_log"
        not_ok "$check_name" "$check_log"
    fi
}

# end_reports: the plan; false if a result was a failure, or there was none.
end_reports() {
    [ "$reported" != 0 ] || not_ok "nothing was checked"
    echo "1..$reported"
    [ "$failed" = 0 ]
}
